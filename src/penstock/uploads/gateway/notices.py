"""What the storage side says on the bus about an upload, with the IDs by which a repeat is recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.emit import Emit
from ...core.progress import FINISHED
from ...events.types import (
    BytesReceived,
    CancelPostprocessing,
    PostprocessingFinished,
    Reference,
    ResourceId,
    Timestamp,
    UploadReady,
)
from ...ids import derived_id
from ..upload import Phase, Upload
from .runs import run_id, start_id

if TYPE_CHECKING:
    from datetime import datetime


def beginning(upload: Upload, url: str) -> BytesReceived:
    """All bytes of the upload are there, at `url`."""
    return BytesReceived(
        upload_id=upload.id,
        resource_id=ResourceId(opaque_id=upload.id, space_id=upload.space),
        filename=upload.filename,
        filesize=upload.size_bytes or 0,
        url=url,
    )


def received(upload: Upload, url: str) -> Emit:
    """All bytes of the upload are there, at `url`: begin its present run."""
    return Emit(beginning(upload, url), run_id(upload.id, upload.run), upload.initiator_id)


def ready(upload: Upload, decision_id: str, decided: PostprocessingFinished | None, at: datetime) -> Emit:
    """What was decided is done: the upload is available, or it is not.

    Args:
        upload: as it is now.
        decision_id: the event that decided; `decision_id_of` where that is not known any more.
        decided: the same, for who is named in it; None if not known any more.
        at: the time.
    """
    event = UploadReady(
        upload_id=upload.id,
        filename=upload.filename,
        executing_user=decided.executing_user if decided else None,
        impersonating_user=decided.impersonating_user if decided else None,
        file_ref=Reference(
            resource_id=ResourceId(opaque_id=upload.space, space_id=upload.space), path=f"./{upload.filename}"
        ),
        timestamp=Timestamp.of(at),
        failed=upload.phase is not Phase.RELEASED,
    )
    return Emit(event, derived_id(decision_id, "ready"), upload.initiator_id)


def cancel(upload_id: str, because_of: str = "") -> Emit:
    """The bytes are given up: drop the record, stop the work.

    `because_of` is the event that shows that somebody has not heard of it; a new statement, for a new reason.
    """
    facts = (upload_id, "cancel", because_of) if because_of else (upload_id, "cancel")
    return Emit(CancelPostprocessing(upload_id=upload_id), derived_id(*facts))


def decision_id_of(upload: Upload) -> str:
    """Return the event ID that the decision of the upload's present run has, unless it was said anew."""
    return start_id(upload.id, upload.run, FINISHED, 1)
