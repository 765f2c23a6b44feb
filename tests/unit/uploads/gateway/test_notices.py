"""What the storage side says, and when it says the same."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from penstock.core.emit import Emit
from penstock.events.types import (
    BytesReceived,
    CancelPostprocessing,
    PostprocessingFinished,
    Reference,
    ResourceId,
    Timestamp,
    UploadReady,
    User,
)
from penstock.uploads.gateway import notices
from penstock.uploads.gateway.runs import run_id, start_id
from penstock.uploads.upload import Phase, Upload

NOW = datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
UPLOAD = Upload(
    id="0" * 32,
    filename="river.tif",
    space="lab",
    size_bytes=7,
    phase=Phase.PROCESSING,
    run=2,
    initiator_id="client",
    created_at=NOW,
)
RELEASED = msgspec.structs.replace(UPLOAD, phase=Phase.RELEASED)


def test_bytes_received_names_the_run_and_the_file() -> None:
    event = BytesReceived(
        upload_id=UPLOAD.id,
        resource_id=ResourceId(opaque_id=UPLOAD.id, space_id="lab"),
        filename="river.tif",
        filesize=7,
        url="file:///staged",
    )
    assert notices.received(UPLOAD, "file:///staged") == Emit(event, run_id(UPLOAD.id, 2), "client")


def test_upload_ready_says_where_the_file_is_and_who_did_it() -> None:
    me, other = User(username="me"), User(username="other")
    decided = PostprocessingFinished(
        upload_id=UPLOAD.id, outcome="continue", executing_user=me, impersonating_user=other
    )
    emit = notices.ready(RELEASED, "decision", decided, NOW)
    assert emit.initiator_id == "client"
    assert emit.event == UploadReady(
        upload_id=UPLOAD.id,
        filename="river.tif",
        executing_user=me,
        impersonating_user=other,
        file_ref=Reference(resource_id=ResourceId(opaque_id="lab", space_id="lab"), path="./river.tif"),
        timestamp=Timestamp(seconds=1767225601, nanos=500_000_000),
        failed=False,
    )


def test_whatever_is_not_released_has_failed() -> None:
    for phase in Phase:
        event = notices.ready(msgspec.structs.replace(UPLOAD, phase=phase), "decision", None, NOW).event
        assert isinstance(event, UploadReady)
        assert event.failed is (phase is not Phase.RELEASED)


def test_the_same_is_said_with_the_same_id_and_something_new_with_another() -> None:
    ids = [
        notices.received(UPLOAD, "").event_id,
        notices.received(msgspec.structs.replace(UPLOAD, run=3), "").event_id,
        notices.ready(RELEASED, "decision", None, NOW).event_id,
        notices.ready(RELEASED, "said anew", None, NOW).event_id,
        notices.cancel(UPLOAD.id).event_id,
        notices.cancel(UPLOAD.id, because_of="a start").event_id,
        notices.cancel(UPLOAD.id, because_of="another start").event_id,
    ]
    assert len(set(ids)) == len(ids)
    assert notices.cancel(UPLOAD.id) == Emit(CancelPostprocessing(upload_id=UPLOAD.id), ids[4])
    assert notices.ready(RELEASED, "decision", None, NOW) == notices.ready(RELEASED, "decision", None, NOW)


def test_the_decision_of_a_run_has_an_id_that_anybody_can_tell() -> None:
    assert notices.decision_id_of(UPLOAD) == start_id(UPLOAD.id, 2, "finished", 1)
