from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.bus.base import BusUnavailable
from penstock.bus.publish import Publisher
from penstock.core.progress import ENDED, FINISHED, Progress, Status
from penstock.errors import ConfigurationError
from penstock.events.types import Envelope, Event, RestartPostprocessing, ResumePostprocessing
from penstock.postprocessing.requests import Requests
from penstock.store.memory import MemoryStore
from penstock.testing import ManualClock

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Said:
    """A bus that keeps what is said, and fails from the `fails_from`-th event on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fails_from = 1000

    async def publish(self, *envelopes: Envelope) -> None:
        for envelope in envelopes:
            if len(self.events) >= self.fails_from:
                raise BusUnavailable("the bus is away")
            self.events.append(envelope.event)


def record(upload_id: str, step: str, *, by_go: bool = False, finished: bool = False) -> Progress:
    return Progress(
        upload_id=upload_id,
        steps=("virusscan", "ocr"),
        filename=f"{upload_id}.pdf",
        status=Status(step, "abort" if finished else ""),
        finished=finished,
        updated_at=None if by_go else NOW,
        announced=0 if by_go else 1,
    )


RECORDS: Sequence[Progress] = (
    record("1", "ocr"),
    record("2", "ocr", by_go=True),
    record("3", FINISHED),
    record("4", FINISHED, by_go=True, finished=True),
)


@pytest.fixture
def bus() -> Said:
    return Said()


@pytest.fixture
async def requests(bus: Said) -> AsyncIterator[Requests]:
    clock = ManualClock()
    async with MemoryStore() as store:
        for progress in RECORDS:
            await store.save(progress, expected=None)
        yield Requests(store=store, publisher=Publisher(bus, clock), clock=clock)  # type: ignore[arg-type]


def told(bus: Said) -> list[tuple[type, str, str]]:
    return [(type(event), event.upload_id, getattr(event, "step", "")) for event in bus.events]


async def test_resuming_a_step_is_one_event_and_a_row_for_each_upload_in_it(requests: Requests, bus: Said) -> None:
    rows = await requests.resume(None, "ocr")
    assert [(row.id, row.ok, row.action) for row in rows] == [("1", True, "resume"), ("2", True, "resume")]
    assert told(bus) == [(ResumePostprocessing, "", "ocr")]


async def test_resuming_without_a_choice_means_those_that_are_finished(requests: Requests, bus: Said) -> None:
    rows = await requests.resume(None, None)
    assert [(row.id, row.ok) for row in rows] == [("3", True), ("4", False)]
    assert "restart it" in rows[1].detail
    assert told(bus) == [(ResumePostprocessing, "", "finished")]


async def test_resuming_one_upload_names_it_and_no_step(requests: Requests, bus: Said) -> None:
    assert [row.id for row in await requests.resume("1", "ocr")] == ["1"]
    assert told(bus) == [(ResumePostprocessing, "1", "")]


async def test_where_nothing_matches_nothing_is_said(requests: Requests, bus: Said) -> None:
    assert await requests.resume(None, "thumbnail") == []
    assert await requests.restart(None, "thumbnail") == []
    assert [row.ok for row in await requests.resume("4", None)] == [False]
    assert bus.events == []


async def test_an_upload_that_is_not_in_the_store_is_asked_for_all_the_same(requests: Requests, bus: Said) -> None:
    rows = [*await requests.resume("9", None), *await requests.restart("9", None)]
    assert all("not in the store" in row.detail for row in rows)
    assert told(bus) == [(ResumePostprocessing, "9", ""), (RestartPostprocessing, "9", "")]


async def test_a_restart_is_an_event_for_each_upload_whatever_its_end_was(requests: Requests, bus: Said) -> None:
    rows = await requests.restart(None, None)
    assert [(row.id, row.ok) for row in rows] == [("3", True), ("4", True)]
    assert told(bus) == [(RestartPostprocessing, "3", ""), (RestartPostprocessing, "4", "")]


async def test_that_the_bus_goes_away_is_told_for_each_upload(requests: Requests, bus: Said) -> None:
    bus.fails_from = 1
    rows = await requests.restart(None, "ocr")
    assert [(row.ok, row.detail) for row in rows] == [
        (True, "its storage provider is asked to announce it again"),
        (False, "the bus is away"),
    ]


async def test_taking_over_resumes_what_a_go_instance_moved_last(requests: Requests, bus: Said) -> None:
    would = await requests.take_over(dry_run=True)
    assert [(row.id, row.action) for row in would] == [("2", "would resume")]
    assert told(bus) == []
    rows = await requests.take_over()
    assert [(row.id, row.step, row.detail) for row in rows] == [("2", "ocr", "step 'ocr' is started again")]
    assert told(bus) == [(ResumePostprocessing, "2", "")]


async def test_a_store_that_cannot_be_seen_allows_what_needs_no_look(bus: Said) -> None:
    clock = ManualClock()
    requests = Requests(store=None, publisher=Publisher(bus, clock), clock=clock)  # type: ignore[arg-type]
    assert [row.ok for row in await requests.resume(None, "ocr")] == [True]
    assert [row.ok for row in await requests.restart("1", None)] == [True]
    assert told(bus) == [(ResumePostprocessing, "", "ocr"), (RestartPostprocessing, "1", "")]
    with pytest.raises(ConfigurationError, match="cannot be seen"):
        requests.records(None)
    with pytest.raises(ConfigurationError, match="--upload-id"):
        await requests.restart(None, "ocr")
    with pytest.raises(ConfigurationError, match="cannot be seen"):
        await requests.take_over()


async def test_what_is_done_is_not_listed_and_has_nothing_to_resume(bus: Said) -> None:
    store = MemoryStore()
    for progress in (record("1", "ocr"), record("5", ENDED, finished=True)):
        await store.save(progress, expected=None)
    clock = ManualClock(NOW)
    line: Any = bus
    requests = Requests(store=store, publisher=Publisher(line, clock), clock=clock)
    assert [saved.progress.upload_id async for saved in requests.records(None)] == ["1"]
    (row,) = await requests.resume("5", None)
    assert (row.ok, row.detail) == (False, "it is done; there is nothing to resume")
    assert await requests.resume(None, FINISHED) == []
    assert bus.events == []
