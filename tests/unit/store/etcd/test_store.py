"""What is particular to the store in etcd: a Go service beside us; what every store does is in tests/contract."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from structlog.testing import capture_logs

from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.core.policy import Policy
from penstock.events.types import Envelope, PostprocessingFinished, PostprocessingStepFinished, UploadReady
from penstock.postprocessing.coordinator import Coordinator
from penstock.store.base import RecordRefused, RevisionConflict, Saved
from penstock.store.etcd import EtcdStore, keys, listing, reading, stretches, timers
from penstock.store.layout import BadRecord
from penstock.store.target import StoreTarget
from penstock.telemetry import Metrics
from penstock.testing import ManualClock, eventually
from penstock.testing.store_contract.records import NOW, SECOND, collect, full_record, ids_of, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from penstock.core.progress import Progress
    from tests.servers.etcd import EtcdNode

CAPTURE = json.loads((Path(__file__).parents[3] / "data" / "wire" / "store-etcd.json").read_text())
GO_KEYS = [
    *("ID", "URL", "User", "ImpersonatingUser", "Filename", "Filesize"),
    *("ResourceID", "Steps", "Status", "Failures", "InitiatorID", "Finished"),
]


@pytest.fixture
async def store(etcd: EtcdNode) -> AsyncIterator[EtcdStore]:
    async with EtcdStore(StoreTarget(nodes=(etcd.address,))) as opened:
        yield opened


def go_writes(etcd: EtcdNode, progress: Progress) -> None:
    """Write a record as a Go service does: without what it does not know, and without our keys."""
    known = dict(list(json.loads(msgspec.json.encode(progress)).items())[:12])
    value = base64.b64encode(json.dumps(known).encode()).decode()
    envelope = json.dumps({"metadata": None, "key": progress.upload_id, "value": value}).encode()
    etcd.put(keys.record_key(progress.upload_id), envelope)
    etcd.put(keys.backwards_key(progress.upload_id), envelope)


def go_removes(etcd: EtcdNode, upload_id: str) -> None:
    etcd.remove(keys.record_key(upload_id))
    etcd.remove(keys.backwards_key(upload_id))


def of_ours(etcd: EtcdNode) -> list[str]:
    """What there is beside the records."""
    return sorted(key.decode() for key in etcd.content() if key.startswith(b"/penstock/"))


async def test_a_record_is_written_as_a_go_service_would_with_ours_after_its_fields(
    etcd: EtcdNode, store: EtcdStore
) -> None:
    await store.save(full_record("u-1"), expected=None)
    content = etcd.content()
    assert content[b"//.prefix/u-1"] == content[b"//.suffix/1-u"]
    envelope = json.loads(content[b"//.prefix/u-1"])
    assert list(envelope) == ["metadata", "key", "value"]
    assert (envelope["metadata"], envelope["key"]) == (None, "u-1")
    written = json.loads(base64.b64decode(envelope["value"]))
    assert list(written)[:12] == GO_KEYS
    captured = CAPTURE["runs"][0]["entries"][0]["record_json"]
    same_types = [name for name in GO_KEYS if name != "ImpersonatingUser"]
    assert [type(written[name]) for name in same_types] == [type(captured[name]) for name in same_types]
    leases = etcd.call("lease/leases", {})
    assert "leases" not in leases


async def test_a_list_of_the_go_services_finds_records_only(etcd: EtcdNode, store: EtcdStore) -> None:
    await store.save(record("u1", due=SECOND), expected=None)
    await store.remember_answer("virusscan", NOW)
    listed = [key for key in etcd.content() if key.startswith(keys.RECORDS)]
    assert listed == [b"//.prefix/u1"]
    assert len(of_ours(etcd)) == 3


async def test_nothing_is_left_of_a_record_that_is_removed(etcd: EtcdNode, store: EtcdStore) -> None:
    revision = await store.save(record("u1", due=SECOND), expected=None)
    revision = await store.save(record("u1", "ocr", due=2 * SECOND), expected=revision)
    assert len(etcd.content()) == 4
    await store.delete("u1", expected=revision)
    assert etcd.content() == {}


async def test_uploads_of_a_go_service_are_finished(etcd: EtcdNode, store: EtcdStore) -> None:
    entries = CAPTURE["runs"][1]["entries"]
    for entry in entries:
        etcd.put(entry["key"].encode(), entry["value"].encode())
    waiting = [saved.progress async for saved in store.all()]
    assert [progress.status.current_step for progress in waiting] == ["customstep", "virusscan"]
    clock = ManualClock(NOW)
    heard: list[Envelope] = []

    async def hear(envelope: Envelope) -> None:
        heard.append(envelope)

    async with LocalBus(clock) as bus, bus.subscribe("test", (PostprocessingFinished,), hear, workers=1):
        coordinator = Coordinator(
            store=store,
            bus=bus,
            publisher=Publisher(bus, clock),
            policy=Policy.create(["virusscan", "customstep"]),
            clock=clock,
            metrics=Metrics(),
        )
        for progress in waiting:
            for step in progress.steps[progress.steps.index(progress.status.current_step) :]:
                answer = PostprocessingStepFinished(
                    upload_id=progress.upload_id, finished_step=step, outcome="continue"
                )
                await coordinator.handle(Envelope(event=answer, event_id=f"{progress.upload_id} {step}"))
        await eventually(lambda: len(heard) == 2)
        assert await store.count_by_step() == {"finished": 2}
        for progress in waiting:
            await coordinator.handle(Envelope(event=UploadReady(upload_id=progress.upload_id), event_id="r"))
    done = [envelope.event for envelope in heard if isinstance(envelope.event, PostprocessingFinished)]
    assert {event.upload_id for event in done} == {progress.upload_id for progress in waiting}
    assert {event.outcome for event in done} == {"continue"}
    assert [key for key in etcd.content() if b"answered" not in key] == []


async def test_a_record_that_a_go_service_has_written_since_is_a_conflict(etcd: EtcdNode, store: EtcdStore) -> None:
    revision = await store.save(record("u1"), expected=None)
    go_writes(etcd, record("u1", failures=1))
    with pytest.raises(RevisionConflict):
        await store.save(record("u1", failures=5), expected=revision)
    with pytest.raises(RevisionConflict):
        await store.delete("u1", expected=revision)
    saved = await store.get("u1")
    assert saved is not None
    assert saved.progress.failures == 1
    await store.save(record("u1", failures=2), expected=saved.revision)


async def test_a_record_that_a_go_service_has_removed_is_gone(etcd: EtcdNode, store: EtcdStore) -> None:
    revision = await store.save(record("u1", due=-SECOND), expected=None)
    go_removes(etcd, "u1")
    assert await store.get("u1") is None
    with pytest.raises(RevisionConflict):
        await store.save(record("u1"), expected=revision)
    await store.delete("u1", expected=revision)
    assert len(of_ours(etcd)) == 2
    assert await store.due(NOW, limit=5) == []
    assert await store.next_due() is None
    assert await store.count_by_step() == {}
    assert of_ours(etcd) == []  # what was left of it went when it was met


async def test_records_of_a_go_service_are_in_the_lists_beside_ours(etcd: EtcdNode, store: EtcdStore) -> None:
    for number in range(20):
        if number % 2:
            go_writes(etcd, record(f"u{number}", "ocr" if number % 3 else "virusscan"))
        else:
            await store.save(record(f"u{number}", "ocr" if number % 3 else "virusscan"), expected=None)
    in_ocr = sorted(f"u{number}" for number in range(20) if number % 3)
    assert sorted(await collect(store.in_step("ocr"))) == in_ocr
    assert sorted(await collect(store.all())) == sorted(f"u{number}" for number in range(20))
    assert await store.count_by_step() == {"ocr": len(in_ocr), "virusscan": 20 - len(in_ocr)}


async def test_a_step_that_a_go_service_has_changed_is_the_one_that_counts(etcd: EtcdNode, store: EtcdStore) -> None:
    await store.save(record("u1", "virusscan", due=-SECOND), expected=None)
    await store.save(record("u2", "virusscan"), expected=None)
    go_writes(etcd, record("u1", "ocr"))
    assert await collect(store.in_step("virusscan")) == ["u2"]
    assert await collect(store.in_step("ocr")) == ["u1"]
    assert await store.count_by_step() == {"virusscan": 1, "ocr": 1}
    assert await store.next_due() is None  # it has no timer any more: Go services know none
    saved = await store.get("u1")
    assert saved is not None
    await store.save(record("u1", "ocr", due=SECOND), expected=saved.revision)
    assert await collect(store.in_step("ocr")) == ["u1"]
    assert await store.next_due() == NOW + SECOND


async def test_lists_hold_however_the_keys_of_both_kinds_fall_into_pages(
    etcd: EtcdNode, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "_RECORDS", 7)
    monkeypatch.setattr(listing, "_KEYS_AT_ONCE", 3)
    monkeypatch.setattr(listing, "_CHOSEN_AT_ONCE", 2)
    monkeypatch.setattr(reading, "_FIRST_PAGE", 3)
    monkeypatch.setattr(reading, "_LARGEST_PAGE", 2)
    monkeypatch.setattr(listing, "_FORGOTTEN_AT_ONCE", 2)
    expected = {"virusscan": set[str](), "ocr": set[str]()}
    for number in range(40):
        upload, step = f"u{number:02}", "ocr" if number % 5 == 0 else "virusscan"
        if number % 7 < 3:
            go_writes(etcd, record(upload, step))
        else:
            await store.save(record(upload, step), expected=None)
        if 10 <= number < 20 and number % 7 >= 3:
            go_removes(etcd, upload)
        else:
            expected[step].add(upload)
    for step, uploads in expected.items():
        assert sorted(await collect(store.in_step(step))) == sorted(uploads)
    assert sorted(await collect(store.all())) == sorted(set.union(*expected.values()))
    assert await store.count_by_step() == {step: len(uploads) for step, uploads in expected.items()}
    assert len(of_ours(etcd)) == sum(number % 7 >= 3 for number in range(40) if not 10 <= number < 20)


async def test_timers_of_records_that_others_have_changed_do_not_hide_those_that_are_due(
    etcd: EtcdNode, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "_AT_ONCE", 4)
    for number in range(20):
        await store.save(record(f"u{number:02}", due=-(100 - number) * SECOND), expected=None)
    for number in range(13):
        go_writes(etcd, record(f"u{number:02}"))
    assert await store.next_due() == NOW - 87 * SECOND
    assert ids_of(await store.due(NOW, limit=5)) == [f"u{number}" for number in range(13, 18)]
    assert sum("/due/" in key for key in of_ours(etcd)) == 7


async def test_a_former_timer_that_another_instance_has_set_does_not_fire(etcd: EtcdNode, store: EtcdStore) -> None:
    async with EtcdStore(StoreTarget(nodes=(etcd.address,))) as other:
        revision = await other.save(record("u1", due=-SECOND), expected=None)
    await store.save(record("u1", due=SECOND), expected=revision)  # which this instance has never read
    assert await store.due(NOW, limit=5) == []
    assert await store.next_due() == NOW + SECOND
    assert sum("/due/" in key for key in of_ours(etcd)) == 1


async def test_only_the_latest_records_timers_are_remembered(
    etcd: EtcdNode, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.store.etcd.store._TIMERS_KNOWN", 3)
    revisions = [await store.save(record(f"u{number}", due=SECOND), expected=None) for number in range(5)]
    for number, revision in enumerate(revisions):
        await store.save(record(f"u{number}", due=(9 - number) * SECOND), expected=revision)
    assert sum("/due/" in key for key in of_ours(etcd)) > 5
    assert ids_of(await store.due(NOW + 9 * SECOND, limit=10)) == ["u4", "u3", "u2", "u1", "u0"]
    assert sum("/due/" in key for key in of_ours(etcd)) == 5


async def test_a_copy_of_another_upload_s_record_is_refused(etcd: EtcdNode, store: EtcdStore) -> None:
    await store.save(record("u1"), expected=None)
    etcd.put(b"//.prefix/u2", etcd.content()[b"//.prefix/u1"])
    with pytest.raises(BadRecord, match="not the record of this upload"):
        await store.get("u2")
    with capture_logs() as logs:
        assert await collect(store.all()) == ["u1"]
    assert [(line["event"], line["upload"]) for line in logs] == [("record_unreadable", "u2")]
    assert await store.count_by_step() == {"virusscan": 1}


async def test_a_record_that_is_too_large_is_not_tried_again_and_again(etcd: EtcdNode, store: EtcdStore) -> None:
    for size in (10**6, 3 * 10**6):
        with pytest.raises(RecordRefused, match="max-request-bytes") as raised:
            await store.save(record("u1", url="x" * size), expected=None)
        assert not raised.value.retryable
    ids = [f"u{number:02}" for number in range(9)]
    for upload_id in ids:  # together they are more than fits into an answer
        await store.save(record(upload_id, url="x" * 4 * 10**5, due=-SECOND), expected=None)
    assert await collect(store.all()) == ids
    assert ids_of(await store.due(NOW, limit=50)) == ids


async def test_a_time_to_live_is_not_used_and_a_warning_says_so(etcd: EtcdNode) -> None:
    with capture_logs() as logs:
        async with EtcdStore(StoreTarget(nodes=(etcd.address,), ttl=timedelta(hours=1))) as store:
            await store.save(record("u1"), expected=None)
    assert [line["event"] for line in logs] == ["store_ttl_ignored"]
    assert "leases" not in etcd.call("lease/leases", {})


async def test_database_and_table_do_not_count_as_with_the_go_services(etcd: EtcdNode, store: EtcdStore) -> None:
    await store.save(record("u1"), expected=None)
    target = StoreTarget(nodes=(etcd.address,), database="ppdb", table="uploads")
    async with EtcdStore(target) as other:
        assert isinstance(await other.get("u1"), Saved)
