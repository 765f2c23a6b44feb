"""Who holds starts back, with the embedded bus, and what is remembered of it over a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.blobs.base import BlobMissing, BlobUnavailable
from penstock.bus.local import LocalBus
from penstock.clock import SystemClock
from penstock.core.emit import awaited
from penstock.core.progress import Progress, Status
from penstock.db import Database
from penstock.delivery.sending import dispatch, lanes
from penstock.delivery.sending.base import NotDelivered, Report, Way
from penstock.delivery.sending.dispatch import Dispatcher
from penstock.delivery.sending.ledger import Ledger
from penstock.events.types import (
    CancelPostprocessing,
    Envelope,
    PostprocessingStepFinished,
    StartPostprocessingStep,
)
from penstock.store.base import Saved
from penstock.store.memory import MemoryStore
from penstock.testing import eventually

UPLOAD = "a" * 32
LONG_AGO = SystemClock().now() - timedelta(hours=1)


class Counting(Way):
    """Notes what it is asked for."""

    name = "counting"
    at_once = False

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self.error = error

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        del start
        report(0.5, "half")
        self.asked.append(start_id)
        if self.error is not None:
            raise self.error
        return f"https://worker/{start_id}"


class World:
    """A store, a list and a bus, which a dispatcher comes to and goes from."""

    def __init__(self, store: MemoryStore, database: Database) -> None:
        self.store = store
        self.ledger = Ledger(database)
        self.heard: list[Envelope] = []
        self.progress = Progress(upload_id=UPLOAD, status=Status("ocr"), steps=("ocr",), step_started_at=LONG_AGO)

    @asynccontextmanager
    async def dispatching(self, way: Way, **others: Way) -> AsyncIterator[Dispatcher]:
        clock = SystemClock()
        async with LocalBus(clock) as bus:
            types = (StartPostprocessingStep, PostprocessingStepFinished)
            async with (
                bus.listen(types, self.heard.append),
                Dispatcher(bus, clock, ways={"ocr": way, **others}, store=self.store, ledger=self.ledger) as dispatcher,
            ):
                yield dispatcher


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Database(f"sqlite:///{tmp_path / 'x.db'}") as database, MemoryStore() as store:
        world = World(store, database)
        await store.save(world.progress, expected=None)
        yield world


def urls(heard: list[Envelope]) -> list[str]:
    return [envelope.event.url for envelope in heard if isinstance(envelope.event, StartPostprocessingStep)]


async def test_a_start_is_said_when_its_bytes_are_there_and_not_again_after_a_restart(world: World) -> None:
    (emit,) = awaited(world.progress)
    way = Counting()
    async with world.dispatching(way) as dispatcher:
        await dispatcher.emit(emit)
        await eventually(lambda: world.heard)
        assert world.heard[0].event_id == emit.event_id
        assert urls(world.heard) == [f"https://worker/{emit.event_id}"]
        await eventually(lambda: world.ledger.address(UPLOAD, emit.event_id))
    again = Counting()
    async with world.dispatching(again) as dispatcher:
        await dispatcher.catch_up()
        assert (again.asked, len(world.heard)) == ([], 1)
        await dispatcher.emit(emit)  # whoever asks for it gets the same once more, without a delivery
        await eventually(lambda: len(world.heard) == 2)
        assert urls(world.heard) == [f"https://worker/{emit.event_id}"] * 2
    assert again.asked == []


async def test_what_a_dead_one_held_back_is_taken_up(world: World) -> None:
    way = Counting()
    async with world.dispatching(way) as dispatcher:
        await dispatcher.catch_up()
        await eventually(lambda: world.heard)
    assert way.asked == [awaited(world.progress)[0].event_id]


async def test_what_cannot_be_delivered_is_the_step_s_failure(world: World) -> None:
    (emit,) = awaited(world.progress)
    async with world.dispatching(
        Counting(NotDelivered("the worker at 10.0.0.9 is away", told="the worker is away"))
    ) as dispatcher:
        await dispatcher.emit(emit)
        await eventually(lambda: world.heard)
    answer = world.heard[0].event
    assert isinstance(answer, PostprocessingStepFinished)
    assert (answer.outcome, answer.result) == ("retry", {"error": "the worker is away"})
    assert world.heard[0].causation_id == emit.event_id


async def test_a_start_that_nobody_awaits_any_more_is_not_said(world: World) -> None:
    (emit,) = awaited(world.progress)
    saved = await world.store.get(UPLOAD)
    assert saved is not None
    await world.store.delete(UPLOAD, expected=saved.revision)
    way = Counting()
    async with world.dispatching(way) as dispatcher:
        await dispatcher.emit(emit)
        await eventually(lambda: way.asked)
        await dispatcher.catch_up()
    assert world.heard == []
    assert await world.ledger.uploads() == []


async def test_bytes_that_are_lost_while_a_step_is_awaited_are_its_failure(world: World) -> None:
    (emit,) = awaited(world.progress)
    way = Counting(BlobMissing(UPLOAD))
    async with world.dispatching(way) as dispatcher:
        await dispatcher.emit(emit)
        await eventually(lambda: world.heard)
        answer = world.heard[0].event
        assert isinstance(answer, PostprocessingStepFinished)
        assert "its bytes are not in the storage any more" in answer.result["error"]
        # An upload that was cancelled is nobody's failure.
        saved = await world.store.get(UPLOAD)
        assert saved is not None
        await world.store.delete(UPLOAD, expected=saved.revision)
        await dispatcher.emit(emit)
        await eventually(lambda: len(way.asked) == 2 and emit.event_id not in dispatcher._lanes)
    assert len(world.heard) == 1


async def test_uploaders_do_not_learn_of_our_machines(world: World) -> None:
    (emit,) = awaited(world.progress)
    error = BlobUnavailable("s3://inside.example.org/bucket does not answer in time.")
    async with world.dispatching(Counting(error)) as dispatcher:
        await dispatcher.emit(emit)
        await eventually(lambda: world.heard)
    answer = world.heard[0].event
    assert isinstance(answer, PostprocessingStepFinished)
    assert answer.result == {
        "error": "the file could not reach the step's worker: it cannot be read from the storage right now"
    }


class Hanging(Way):
    """A worker that takes nothing, and does not say no."""

    name = "hanging"
    at_once = False

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        del start, start_id, report
        await asyncio.Event().wait()
        return ""


class Reluctant(Way):
    """Takes its time to let go of a worker."""

    name = "reluctant"
    at_once = False

    def __init__(self) -> None:
        self.asked, self.stopped, self.gone = 0, asyncio.Event(), asyncio.Event()

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        del start, report
        self.asked += 1
        if self.asked > 1:
            return f"https://worker/{start_id}"
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()
            await self.gone.wait()
        return ""


async def test_a_start_that_was_stopped_begins_anew_while_the_stopped_one_lets_go(world: World) -> None:
    (emit,) = awaited(world.progress)
    way = Reluctant()
    async with world.dispatching(way) as dispatcher:
        try:
            await dispatcher.emit(emit)
            await eventually(lambda: way.asked)
            await dispatcher.publish(CancelPostprocessing(upload_id=UPLOAD))
            await eventually(way.stopped.is_set)
            await dispatcher.emit(emit)
            await eventually(lambda: world.heard)
        finally:
            way.gone.set()
        assert urls(world.heard) == [f"https://worker/{emit.event_id}"]


async def test_a_worker_that_takes_nothing_holds_up_no_other_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "HELD", 6)
    async with world.dispatching(Counting(), stuck=Hanging()) as dispatcher:
        for number in range(10):
            progress = Progress(upload_id=f"{number:032}", status=Status("stuck"), steps=("stuck",))
            await world.store.save(progress, expected=None)
            await dispatcher.emit(*awaited(progress))
        await dispatcher.emit(*awaited(world.progress))
        await eventually(lambda: world.heard)
        assert urls(world.heard) == [f"https://worker/{awaited(world.progress)[0].event_id}"]


async def test_those_that_were_said_are_looked_up_once_and_none_while_there_is_no_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be many, and somebody looks every few seconds."""
    (emit,) = awaited(world.progress)
    await world.ledger.note(UPLOAD, emit.event_id, "https://worker/x")
    address, looked_up = world.ledger.address, list[str]()

    async def counted(upload_id: str, start_id: str) -> str | None:
        looked_up.append(upload_id)
        return await address(upload_id, start_id)

    monkeypatch.setattr(world.ledger, "address", counted)
    way = Counting()
    async with world.dispatching(way) as dispatcher:
        with monkeypatch.context() as full:
            full.setattr(lanes, "HELD", 0)
            await dispatcher.catch_up()
        assert looked_up == []
        for _ in range(2):
            await dispatcher.catch_up()
    assert (looked_up, way.asked, world.heard) == ([UPLOAD], [], [])


async def test_a_mistake_is_not_the_end_of_looking_for_what_is_held_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_LOOK", timedelta(milliseconds=1))
    way, in_step, looked = Counting(), world.store.in_step, list[str]()

    def failing(step: str) -> AsyncIterator[Saved]:
        looked.append(step)
        if len(looked) == 1:
            raise ValueError("no such record was expected")
        return in_step(step)

    monkeypatch.setattr(world.store, "in_step", failing)
    async with world.dispatching(way) as dispatcher:
        looking = asyncio.ensure_future(dispatcher.run())
        await eventually(lambda: world.heard)
        looking.cancel()
        await asyncio.wait([looking])
    assert len(way.asked) == 1
