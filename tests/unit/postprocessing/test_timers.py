"""Timers, while all is well and while something is away for long."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.bus.base import BusUnavailable
from penstock.core.policy import Policy
from penstock.core.progress import State
from penstock.events.types import StartPostprocessingStep
from penstock.store.base import StoreUnavailable
from penstock.store.layout import BadRecord
from penstock.testing import eventually

from .world import RECEIVED, World, answer, received

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    """Fire timers while the context is open; what ends them comes out of it."""
    task = asyncio.create_task(world.timers.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_backoff_ends_at_its_time(world: World) -> None:
    async with running(world):
        await world.coordinator.handle(RECEIVED)
        await world.coordinator.handle(answer("retry"))
        await world.clock.advance(seconds(3.9))
        assert (await world.progress()).state is State.BACKOFF
        await world.clock.advance(seconds(0.2))
        assert (await world.progress()).state is State.STEP
        await eventually(lambda: world.starts() == ["virusscan", "virusscan"])


async def test_a_timer_that_ends_while_it_is_looked_for_does_not_wait_for_the_next_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(answer("retry"))
    await world.clock.advance(seconds(3.999))
    next_due = world.memory.next_due

    async def after_a_while() -> datetime | None:
        monkeypatch.undo()
        world.clock.jump(seconds(0.002))  # the look at what is due is over, and found nothing
        return await next_due()

    monkeypatch.setattr(world.memory, "next_due", after_a_while)
    async with running(world):
        await world.clock.advance(seconds(0.02))
        assert (await world.progress()).state is State.STEP


async def test_a_start_that_could_not_be_said_for_an_hour_is_said_when_the_bus_is_back(world: World) -> None:
    async with running(world):
        await world.coordinator.handle(RECEIVED)
        await world.coordinator.handle(answer("retry"))
        await eventually(world.starts)
        world.heard.clear()
        world.line.away = True
        await world.clock.advance(timedelta(hours=1))
        assert world.starts() == []
        assert (await world.progress()).announced == 1
        attempts = world.line.attempts
        world.line.away = False
        await world.clock.advance(seconds(10))
        await eventually(world.starts)
    assert attempts < 1000, "it was tried far too often while nobody was there"
    assert (await world.progress()).announced > 1


async def test_a_decision_that_could_not_be_said_for_an_hour_is_said_when_the_bus_is_back(world: World) -> None:
    async with running(world):
        await world.coordinator.handle(RECEIVED)
        world.line.away = True
        with pytest.raises(BusUnavailable):
            await world.coordinator.handle(answer("abort"))
        await world.clock.advance(timedelta(hours=1))
        world.line.away = False
        await world.clock.advance(seconds(10))
        await eventually(world.decisions)


async def test_what_was_said_while_the_bus_was_there_is_said_again_three_times_and_no_more(world: World) -> None:
    async with running(world):
        await world.coordinator.handle(RECEIVED)
        await world.clock.advance(timedelta(minutes=10))
        await eventually(lambda: len(world.starts()) == 4)
    assert len({one.event_id for one in world.heard}) == 1
    assert (await world.progress()).due_at is None


async def test_time_in_which_the_bus_is_away_is_not_held_against_a_step(world: World) -> None:
    world.follow(Policy.create(["virusscan"], max_retries=0, step_timeouts={"virusscan": timedelta(minutes=2)}))
    async with running(world):
        await world.coordinator.handle(RECEIVED)
        await eventually(world.starts)
        world.line.away = True
        await world.clock.advance(timedelta(minutes=30))
        assert (await world.progress()).state is State.STEP
        world.line.away = False
        await world.clock.advance(seconds(6))
        back = await world.progress()
        assert (back.state, back.failures) == (State.STEP, 0)
        assert back.deadline_at is not None
        assert back.deadline_at > world.clock.now() + seconds(110)
        await world.clock.advance(timedelta(minutes=3))
        assert (await world.progress()).state is State.FINISHED  # it had its whole time, and did not answer


async def test_a_store_that_is_away_is_waited_for_without_spinning(world: World) -> None:
    async with running(world):
        await world.coordinator.handle(RECEIVED)
        await world.coordinator.handle(answer("retry"))
        world.store.away.add("due")
        await world.clock.advance(timedelta(minutes=10))
        assert world.store.calls["due"] < 150
        assert (await world.progress()).state is State.BACKOFF
        world.store.away.clear()
        await world.clock.advance(seconds(6))
        assert (await world.progress()).state is State.STEP


async def test_a_store_that_can_be_read_and_not_written_is_waited_for_without_spinning(world: World) -> None:
    async with running(world):
        await world.coordinator.handle(RECEIVED)
        await world.coordinator.handle(answer("retry"))
        world.store.away.add("save")
        calls = world.store.calls["save"]
        await world.clock.advance(timedelta(minutes=10))
        assert world.store.calls["save"] - calls < 300
        world.store.away.clear()
        await world.clock.advance(seconds(11))
        assert (await world.progress()).state is State.STEP


@pytest.mark.parametrize("error", [BadRecord("broken"), ValueError("cannot be encoded"), StoreUnavailable("away")])
async def test_records_that_cannot_be_written_hold_up_no_others(world: World, error: Exception) -> None:
    bad = [f"bad{number}" for number in range(110)]  # more than are looked at in one go, and due before the good one
    async with running(world):
        for upload in [*bad, "good"]:
            await world.coordinator.handle(received(upload))
            await world.coordinator.handle(answer("retry", event_id=f"retry {upload}", upload_id=upload))
        world.store.unwritable = dict.fromkeys(bad, error)
        saves = world.store.calls["save"]
        await world.clock.advance(seconds(30))
        assert (await world.progress("good")).state is State.STEP
        await world.clock.advance(timedelta(minutes=2))
        assert world.store.calls["save"] - saves < 5000
        world.store.unwritable.clear()
        await world.clock.advance(timedelta(minutes=2))
        states = {(await world.progress(upload)).state for upload in bad}
    assert states == {State.STEP}


async def test_a_group_that_is_full_holds_up_only_what_is_for_it(world: World) -> None:
    world.line.refuses = lambda one: isinstance(one.event, StartPostprocessingStep) and one.event.upload_id != "free"
    async with running(world):
        for number in range(120):
            with pytest.raises(BusUnavailable):
                await world.coordinator.handle(received(f"u{number}"))
        await world.coordinator.handle(received("free"))
        await eventually(lambda: world.starts("free"))
        await world.clock.advance(seconds(40))
        assert len(world.starts("free")) >= 2
        world.line.refuses = lambda _: False
        await world.clock.advance(seconds(30))
        await eventually(lambda: all(world.starts(f"u{number}") for number in range(120)))


async def test_of_two_instances_one_fires_a_timer(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(answer("retry"))
    await eventually(world.starts)
    await world.clock.advance(seconds(5))
    other = World(world.clock, world.bus)
    other.store, other.line = world.store, world.line
    other.follow(world.policy)
    await asyncio.gather(world.timers.fire(), other.timers.fire())
    await eventually(lambda: world.starts() == ["virusscan", "virusscan"])
    assert (await world.progress()).attempt == 2
    for one in (world, other):
        await one.timers.fire()
    assert world.starts() == ["virusscan", "virusscan"]
