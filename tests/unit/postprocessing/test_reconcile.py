"""What is said and set right at start and from time to time, also while the bus or the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest
from structlog.testing import capture_logs

from penstock.core.progress import Progress, Status
from penstock.events.types import Envelope
from penstock.testing import eventually

from .world import World, answer, received


async def restarted(world: World, uploads: int) -> None:
    """Have `uploads` in their first step, and a bus that has forgotten them."""
    for number in range(uploads):
        await world.coordinator.handle(received(f"u{number}"))
    await eventually(lambda: len(world.heard) == uploads)
    world.heard.clear()


async def test_what_is_awaited_is_said_to_a_bus_that_has_forgotten_it(world: World) -> None:
    await restarted(world, 100)
    await world.coordinator.handle(answer("retry", event_id="pause", upload_id="u7"))
    assert await world.reconciler.announce() == 99
    await eventually(lambda: len(world.heard) == 99)


def take_time(world: World, monkeypatch: pytest.MonkeyPatch, each: timedelta) -> None:
    """Have whatever is published take some time."""
    spent = timedelta()
    idly = world.clock.monotonic

    async def slowly(*envelopes: Envelope) -> None:
        nonlocal spent
        spent += each
        await world.bus.publish(*envelopes)

    monkeypatch.setattr(world.line, "publish", slowly)
    monkeypatch.setattr(world.clock, "monotonic", lambda: idly() + spent.total_seconds())


async def test_where_there_is_much_to_say_the_start_waits_for_a_part_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await restarted(world, 100)
    take_time(world, monkeypatch, timedelta(seconds=3))
    assert await world.reconciler.announce() == 8
    async with running(world):
        await world.clock.advance(timedelta(seconds=1))
        await eventually(lambda: len(world.heard) == 100)


def heard(world: World, number: int) -> bool:
    return len(world.heard) == number


async def test_who_announces_a_lot_rests_for_as_long_as_it_works(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await restarted(world, 40)
    take_time(world, monkeypatch, timedelta(milliseconds=1))
    start = asyncio.create_task(world.reconciler.announce())
    for told in (8, 16, 24, 32):
        await eventually(partial(heard, world, told))
        await world.clock.advance(timedelta(milliseconds=7))
        assert len(world.heard) == told
        await world.clock.advance(timedelta(milliseconds=1))
    await world.clock.advance(timedelta(milliseconds=8))
    assert await start == 40


async def test_a_bus_that_is_away_at_start_is_waited_for(world: World) -> None:
    await restarted(world, 8)
    world.line.away = True
    start = asyncio.create_task(world.reconciler.announce())
    await world.clock.advance(timedelta(seconds=3))
    assert not start.done()
    world.line.away = False
    await world.clock.advance(timedelta(seconds=5))
    assert await start == 8
    await eventually(lambda: len(world.heard) == 8)


async def test_a_bus_that_stays_full_holds_up_neither_the_start_nor_anything_for_good(world: World) -> None:
    await restarted(world, 70)
    full = {f"u{number}" for number in range(10, 70)}
    world.line.refuses = lambda one: one.event.upload_id in full
    start = asyncio.create_task(world.reconciler.announce())
    await world.clock.advance(timedelta(seconds=15))
    assert start.done()
    assert await start == 10
    loop = asyncio.create_task(world.reconciler.run())
    await world.clock.advance(timedelta(minutes=5))
    attempts = world.line.attempts
    full.clear()
    await world.clock.advance(timedelta(seconds=10))
    await eventually(lambda: len(world.heard) == 70)
    loop.cancel()
    await asyncio.wait([loop])
    assert attempts < 5000


async def test_a_store_that_is_away_at_start_is_waited_for(world: World) -> None:
    await restarted(world, 3)
    world.store.away.add("all")
    start = asyncio.create_task(world.reconciler.announce())
    await world.clock.advance(timedelta(seconds=3))
    world.store.away.clear()
    await world.clock.advance(timedelta(seconds=5))
    assert await start == 3


async def test_one_that_cannot_be_told_does_not_keep_the_others_from_it(world: World) -> None:
    world.store.unwritable = {"u1": ValueError("broken")}
    await world.memory.save(Progress(upload_id="u1", steps=("virusscan",), status=Status("virusscan")), expected=None)
    await restarted(world, 1)
    assert await world.reconciler.announce() == 2  # nothing has to be saved for it


async def test_only_what_was_set_right_counts_as_mended(world: World) -> None:
    for number in range(3):
        foreign = Progress(upload_id=f"go{number}", steps=("virusscan",), status=Status("virusscan", "retry"))
        await world.memory.save(foreign, expected=None)
    world.store.unwritable = {"go1": ValueError("broken")}
    assert await world.reconciler.mend() == 2
    assert await world.reconciler.mend() == 0
    world.store.unwritable.clear()
    assert await world.reconciler.mend() == 1


async def test_mending_goes_on_after_the_store_was_away(world: World) -> None:
    foreign = Progress(upload_id="go", steps=("virusscan",), status=Status("virusscan", "retry"))
    await world.memory.save(foreign, expected=None)
    loop = asyncio.create_task(world.reconciler.run())
    world.store.away.add("all")
    await world.clock.advance(timedelta(minutes=2))
    assert (await world.progress("go")).updated_at is None
    world.store.away.clear()
    await world.clock.advance(timedelta(minutes=1))
    assert (await world.progress("go")).updated_at is not None
    loop.cancel()
    await asyncio.wait([loop])


async def test_where_a_walk_takes_long_the_pauses_are_longer(world: World) -> None:
    """100,000 records take some ten seconds: every minute would be a sixth of the time."""
    walks = 0

    async def slowly() -> int:
        nonlocal walks
        walks += 1
        await world.clock.sleep(timedelta(seconds=10))
        return 0

    world.reconciler.mend = slowly  # type: ignore[method-assign]
    loop = asyncio.create_task(world.reconciler.run())
    await world.clock.advance(timedelta(minutes=3))
    assert walks == 1
    await world.clock.advance(timedelta(minutes=1))
    assert walks == 2
    loop.cancel()
    await asyncio.wait([loop])


async def test_what_a_bus_forgets_while_running_is_said_again_once(world: World) -> None:
    await restarted(world, 40)
    async with running(world):
        await world.clock.advance(timedelta(seconds=1))
        assert not world.heard
        world.bus.memory.begin(world.clock.now())
        await eventually(lambda: len(world.heard) == 40)
        await world.clock.advance(timedelta(minutes=5))
        assert len(world.heard) == 40


async def test_what_was_said_before_the_bus_began_is_said_again_at_start(world: World) -> None:
    await restarted(world, 3)
    world.bus.memory.begin(world.clock.now() + timedelta(seconds=5))
    await world.clock.advance(timedelta(seconds=10))
    await world.coordinator.handle(received("later"))
    await eventually(lambda: len(world.heard) == 1)
    async with running(world):
        await eventually(lambda: len(world.heard) == 4)
        assert [one.event.upload_id for one in world.heard].count("later") == 1


async def test_what_was_announced_at_start_is_not_said_twice(world: World) -> None:
    await restarted(world, 3)
    world.bus.memory.begin(world.clock.now())
    assert await world.reconciler.announce() == 3
    async with running(world):
        await world.clock.advance(timedelta(minutes=2))
        assert len(world.heard) == 3


async def test_a_bus_that_forgets_again_meanwhile_is_told_again(world: World) -> None:
    await restarted(world, 5)
    world.line.away = True
    with capture_logs() as logs:
        async with running(world):
            world.bus.memory.begin(world.clock.now())
            await world.clock.advance(timedelta(seconds=2))
            world.bus.memory.begin(world.clock.now())
            world.line.away = False
            await world.clock.advance(timedelta(seconds=40))
    told = [line["uploads"] for line in logs if line["event"] == "awaited_events_announced"]
    assert told == [5, 5]


async def test_a_step_that_pauses_is_not_started_for_a_bus_that_forgets(world: World) -> None:
    await restarted(world, 1)
    await world.coordinator.handle(answer("retry", event_id="pause", upload_id="u0"))
    async with running(world):
        world.bus.memory.begin(world.clock.now())
        await world.clock.advance(timedelta(seconds=2))
        assert not world.starts("u0")


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    loop = asyncio.create_task(world.reconciler.run())
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.wait([loop])
