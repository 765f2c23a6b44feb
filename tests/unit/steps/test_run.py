"""What is heard of a step while it works: from when its bytes are fetched to the end of its function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.clock import SystemClock
from penstock.delivery.base import BytesUnavailable, Delivered, Delivery
from penstock.delivery.localfile import LocalBytes
from penstock.events.types import (
    CancelPostprocessing,
    Envelope,
    PostprocessingStepProgress,
    StartPostprocessingStep,
)
from penstock.steps.call import begin
from penstock.steps.kit import Outcome, StepUpload, step
from penstock.steps.life import SIGN_OF_LIFE
from penstock.steps.run import Run, Stop
from penstock.steps.runner import StepRunner
from penstock.testing import eventually
from penstock.testing.clock import ManualClock
from penstock.tracing import UNTRACED

TICK = timedelta(seconds=1)


@step("ocr")
async def ocr(upload: StepUpload) -> Outcome:
    del upload
    return Outcome.CONTINUE


class World:
    def __init__(self, upload_id: str) -> None:
        self.clock = ManualClock()
        start = StartPostprocessingStep(upload_id=upload_id, step_to_start="ocr")
        span = UNTRACED.span("step ocr", "", upload_id=upload_id, step="ocr")
        self.run = Run(start, start_id="1", sending_id="2", clock=self.clock, span=span)
        self.heard: list[str] = []
        """What the heartbeats said."""

    @asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        bus = LocalBus(self.clock)
        hearing = bus.listen((PostprocessingStepProgress,), self._hear)
        async with bus, hearing, self.run.reported(Publisher(bus, self.clock)):
            yield

    def _hear(self, envelope: Envelope) -> None:
        assert isinstance(envelope.event, PostprocessingStepProgress)
        self.heard.append(envelope.event.message)

    async def begin(self) -> None:
        """Have the function begin; it ends at once."""
        self.run.call = begin(ocr, StepUpload.from_file(__file__), self.run.signal)
        await self.run.call.done


async def test_it_is_alive_while_its_bytes_are_fetched_and_says_once_that_its_function_has_begun() -> None:
    world = World("u")
    async with world.reporting():
        await world.clock.advance(SIGN_OF_LIFE - TICK)
        assert len(world.heard) == 0
        await world.clock.advance(3 * SIGN_OF_LIFE)
        assert len(world.heard) == 3
        await world.begin()
        await world.clock.advance(5 * SIGN_OF_LIFE)
    assert len(world.heard) == 4
    assert not world.clock.sleepers


async def test_a_function_that_speaks_for_itself_is_not_spoken_for() -> None:
    world = World("u")
    async with world.reporting():
        await world.begin()
        world.run.on_beat((0.5, "half"))
        await world.clock.advance(5 * SIGN_OF_LIFE)
    assert world.heard == ["half"]


async def test_what_was_cancelled_is_not_called_alive() -> None:
    world = World("u")
    async with world.reporting():
        world.run.stop(Stop.CANCELLED)
        await world.clock.advance(5 * SIGN_OF_LIFE)
    assert not world.heard


async def test_nobody_hears_of_a_scan_on_demand() -> None:
    world = World("")
    async with world.reporting():
        await world.clock.advance(5 * SIGN_OF_LIFE)
    assert not world.heard


async def test_what_goes_wrong_meanwhile_comes_out_as_it_is() -> None:
    with pytest.raises(BytesUnavailable):
        async with World("u").reporting():
            raise BytesUnavailable("the server is away")


async def test_what_comes_before_the_function_is_broken_off_when_nobody_wants_it_any_more() -> None:
    run = World("u").run
    left = list[str]()

    async def fetch() -> str:
        try:
            run.stop(Stop.CANCELLED)
            await asyncio.Event().wait()
        finally:
            left.append("let go")
        return "never"

    assert await run.unless_stopped(fetch()) is None
    assert left == ["let go"]
    assert await run.unless_stopped(asyncio.sleep(0, "at once")) in ("at once", None)
    await asyncio.sleep(0)  # this task goes on


async def test_what_comes_in_time_is_taken_and_what_fails_has_failed() -> None:
    run = World("u").run
    assert await run.unless_stopped(asyncio.sleep(0, "here")) == "here"

    async def fail() -> str:
        raise TimeoutError("the server is slow")

    with pytest.raises(TimeoutError, match="the server is slow"):
        await run.unless_stopped(fail())
    run.stop(Stop.CANCELLED)
    await asyncio.sleep(0)


class Endless(Delivery):
    """Fetches, and fetches."""

    def __init__(self) -> None:
        self.fetching = 0

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        del start
        self.fetching += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.fetching -= 1
        yield LocalBytes(Path(__file__), 0)


async def test_a_cancelled_upload_is_not_fetched_to_its_end() -> None:
    """Others wait for the worker."""
    clock, delivery = SystemClock(), Endless()
    async with LocalBus(clock) as bus:
        publisher = Publisher(bus, clock)
        async with StepRunner(ocr, bus=bus, publisher=publisher, delivery=delivery, clock=clock) as runner:
            await publisher.publish(StartPostprocessingStep(upload_id="u", step_to_start="ocr"))
            await eventually(lambda: delivery.fetching)
            await publisher.publish(CancelPostprocessing(upload_id="u"))
            await eventually(lambda: not runner.running)
    assert not delivery.fetching


async def test_silence_is_counted_from_when_the_function_has_begun() -> None:
    world = World("u")
    await world.clock.advance(timedelta(hours=1))
    async with world.run.limited(2 * TICK):
        await world.clock.advance(TICK)
        world.run.on_beat((None, ""))
        await world.clock.advance(TICK)
        assert not world.run.stopped.done()
        await world.clock.advance(TICK)
        assert world.run.stopped.result() is Stop.TIMEOUT
