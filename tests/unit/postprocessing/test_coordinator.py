"""Save, publish, acknowledge: what the coordinator does with the machine's decisions."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.bus.base import BusUnavailable
from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.core.policy import Policy
from penstock.core.progress import Progress, State
from penstock.core.transition import Tick, Verdict
from penstock.events.types import (
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    Event,
    PostprocessingFinished,
    PostprocessingStepFinished,
    ResumePostprocessing,
    StartPostprocessingStep,
    UploadReady,
)
from penstock.postprocessing.commands import Commands
from penstock.postprocessing.coordinator import Coordinator
from penstock.postprocessing.survey import Survey
from penstock.store.base import Revision, RevisionConflict, StoreUnavailable
from penstock.store.memory import MemoryStore
from penstock.telemetry import Metrics
from penstock.testing import ManualClock, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POLICY = Policy.create(["virusscan", "ocr"], retry_backoff=timedelta(seconds=4), max_retries=1)


class Recording:
    """A store that tells in which order things were done, and fails on demand."""

    def __init__(self, store: MemoryStore, log: list[str]) -> None:
        self._store = store
        self._log = log
        self.failing = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable("away")
        revision = await self._store.save(progress, expected=expected)
        self._log.append(f"saved {progress.status.current_step}")
        return revision


class World:
    """A coordinator between a memory store and the embedded bus, with somebody who listens."""

    def __init__(self, clock: ManualClock, bus: LocalBus) -> None:
        self.clock = clock
        self.bus = bus
        self.log: list[str] = []
        self.memory = MemoryStore()
        self.store = Recording(self.memory, self.log)
        self.metrics = Metrics()
        self.heard: list[Envelope] = []
        self.coordinator = self.another()

    def another(self) -> Coordinator:
        return Coordinator(
            store=self.store,  # type: ignore[arg-type]  # stands in for the store that it wraps
            bus=self.bus,
            publisher=Publisher(self.bus, self.clock),
            policy=POLICY,
            clock=self.clock,
            metrics=self.metrics,
        )

    async def hear(self, envelope: Envelope) -> None:
        event = envelope.event
        name = event.step_to_start if isinstance(event, StartPostprocessingStep) else envelope.event_type
        self.log.append(f"heard {name}")
        self.heard.append(envelope)

    async def record(self) -> Progress | None:
        saved = await self.memory.get("u")
        return None if saved is None else saved.progress

    def count(self, kind: str, verdict: str) -> float:
        value = self.metrics.registry.get_sample_value("penstock_inputs_total", {"kind": kind, "verdict": verdict})
        return value or 0.0


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(LocalBus(clock))
        made = World(clock, bus)
        types = (StartPostprocessingStep, PostprocessingFinished)
        await stack.enter_async_context(bus.subscribe("listener", types, made.hear, workers=1))
        yield made


def said(event: Event, event_id: str = "", causation_id: str = "") -> Envelope:
    return Envelope(event=event, event_id=event_id or type(event).__name__, causation_id=causation_id)


RECEIVED = said(BytesReceived(upload_id="u", filename="f"), "run-1")


def answer(outcome: str, step: str = "virusscan", event_id: str = "answer") -> Envelope:
    return said(PostprocessingStepFinished(upload_id="u", finished_step=step, outcome=outcome), event_id)


async def test_it_saves_before_it_publishes(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await eventually(lambda: world.heard)
    assert world.log == ["saved virusscan", "heard virusscan"]


async def test_an_upload_passes_through_and_is_forgotten(world: World) -> None:
    for envelope in (RECEIVED, answer("continue"), answer("continue", "ocr", "answer-2")):
        await world.coordinator.handle(envelope)
    await eventually(lambda: world.log[-1] == "heard PostprocessingFinished")
    await world.coordinator.handle(said(UploadReady(upload_id="u")))
    assert await world.record() is None
    assert set(await world.memory.answered()) == {"virusscan", "ocr"}
    seconds = world.metrics.registry.get_sample_value("penstock_step_seconds_count", {"step": "virusscan"})
    assert seconds == 1


async def test_a_store_that_is_away_leaves_the_event_unhandled(world: World) -> None:
    world.store.failing = 1
    with pytest.raises(StoreUnavailable):
        await world.coordinator.handle(RECEIVED)
    assert world.heard == []
    await world.coordinator.handle(RECEIVED)
    await eventually(lambda: world.heard)


async def test_what_was_saved_but_not_published_is_published_when_the_event_comes_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: LocalBus, *envelopes: Envelope) -> None:
        raise BusUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(LocalBus, "publish", away)
        with pytest.raises(BusUnavailable):
            await world.coordinator.handle(RECEIVED)
    assert world.log == ["saved virusscan"]
    await world.coordinator.handle(RECEIVED)
    await eventually(lambda: world.heard)
    assert world.log == ["saved virusscan", "heard virusscan"]
    assert world.count("bytes received", "repeated") == 1


async def test_two_instances_do_not_lose_each_others_changes(world: World) -> None:
    other = world.another()
    await world.coordinator.handle(RECEIVED)
    await other.handle(answer("continue"))  # the first one still remembers the step before
    await world.coordinator.handle(answer("continue", "ocr", "answer-2"))
    record = await world.record()
    assert record is not None
    assert record.state is State.FINISHED
    late = await world.coordinator.apply("u", answer("continue", "ocr", "answer-3"))
    assert late.verdict is Verdict.STALE


async def test_a_conflict_is_decided_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.coordinator.handle(RECEIVED)
    save = world.store.save
    conflicts = [True]

    async def conflicting(progress: Progress, *, expected: Revision | None) -> Revision:
        if conflicts:
            conflicts.pop()
            raise RevisionConflict(progress.upload_id)
        return await save(progress, expected=expected)

    monkeypatch.setattr(world.store, "save", conflicting)
    await world.coordinator.handle(answer("continue"))
    record = await world.record()
    assert record is not None
    assert record.status.current_step == "ocr"


async def test_a_late_repeat_of_the_first_event_does_not_begin_an_ended_run_anew(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(said(CancelPostprocessing(upload_id="u")))
    await world.coordinator.handle(RECEIVED)
    assert await world.record() is None
    assert world.count("bytes received", "duplicate") == 1


async def test_resume_by_step_reaches_all_in_that_step(world: World) -> None:
    for upload in ("u", "v", "w"):
        await world.coordinator.handle(said(BytesReceived(upload_id=upload), f"run-{upload}"))
    await eventually(lambda: len(world.heard) == 3)
    await world.coordinator.handle(said(ResumePostprocessing(step="virusscan"), "resume"))
    await eventually(lambda: len(world.heard) == 6)
    assert len({envelope.event_id for envelope in world.heard}) == 6


async def test_a_near_timer_is_told_to_the_timers(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    assert not world.coordinator.near_timer.is_set()
    await world.coordinator.handle(answer("retry"))
    await world.clock.advance(timedelta(seconds=3.5))
    assert not world.coordinator.near_timer.is_set()
    await world.clock.advance(timedelta(seconds=1))
    transition = await world.coordinator.apply("u", Tick())
    assert transition.verdict is Verdict.APPLIED


async def test_commands_tell_a_row_for_each_upload(world: World) -> None:
    commands = Commands(store=world.memory, coordinator=world.coordinator)
    assert await commands.resume(None, None) == []
    await world.coordinator.handle(RECEIVED)
    (row,) = await commands.resume("u", None)
    assert (row.id, row.step, row.ok) == ("u", "virusscan", True)
    assert "attempt 2" in row.detail
    await world.coordinator.handle(answer("abort"))
    (row,) = await commands.resume(None, "finished")
    assert row.ok
    decision = await eventually(lambda: [one for one in world.heard if isinstance(one.event, PostprocessingFinished)])
    ready = said(UploadReady(upload_id="u", failed=True), "ready", decision[-1].event_id)
    await world.coordinator.handle(ready)
    (row,) = await commands.resume("u", None)
    assert not row.ok
    assert "restart" in row.detail


async def test_the_survey_counts_what_stands_still(world: World) -> None:
    survey = Survey(store=world.memory, clock=world.clock, stalled_after=timedelta(minutes=10))
    await world.coordinator.handle(RECEIVED)
    assert (await survey.numbers()).stalled == 0
    await world.clock.advance(timedelta(minutes=11))
    numbers = await survey.numbers()
    assert (numbers.stalled, numbers.oldest_seconds) == (1, 660.0)
