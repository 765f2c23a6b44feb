"""The clock that tests move by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from penstock.clock import Clock
from penstock.testing import ManualClock, eventually

SECOND = timedelta(seconds=1)


async def test_stands_still_until_it_is_advanced() -> None:
    clock: Clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    assert clock.now() == datetime(2026, 5, 1, tzinfo=UTC)
    assert clock.monotonic() == 0.0


async def test_advancing_moves_both_times() -> None:
    clock = ManualClock()
    before = clock.now()
    await clock.advance(SECOND * 1.5)
    assert clock.now() - before == SECOND * 1.5
    assert clock.monotonic() == 1.5


async def test_a_jump_moves_only_the_wall_clock_in_either_direction() -> None:
    clock = ManualClock()
    before = clock.now()
    clock.jump(-SECOND)
    assert clock.now() - before == -SECOND
    clock.jump(3 * SECOND)
    assert clock.now() - before == 2 * SECOND
    assert clock.monotonic() == 0.0


async def test_sleepers_wake_in_order_each_at_its_own_time() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: int) -> None:
        await clock.sleep(seconds * SECOND)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as tasks:
        for name, seconds in (("late", 3), ("early", 1), ("too late", 5), ("early too", 1)):
            tasks.create_task(sleeper(name, seconds))
        await clock.advance(4 * SECOND)
        assert woken == [("early", 1.0), ("early too", 1.0), ("late", 3.0)]
        assert clock.sleepers == 1
        await clock.advance(SECOND)
    assert woken[-1] == ("too late", 5.0)


async def test_who_sleeps_again_is_woken_again_on_the_way() -> None:
    clock = ManualClock()
    ticks: list[float] = []

    async def ticking() -> None:
        while True:
            await clock.sleep(SECOND)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(ticking())
    await clock.advance(10 * SECOND)
    task.cancel()
    assert ticks == [float(second) for second in range(1, 11)]


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(SECOND))
    await eventually(lambda: clock.sleepers == 1)
    task.cancel()
    await asyncio.wait([task])
    assert clock.sleepers == 0
    await clock.advance(2 * SECOND)
    assert clock.monotonic() == 2.0


@pytest.mark.parametrize("duration", [timedelta(), -SECOND])
async def test_no_time_and_negative_time_return_at_once(duration: timedelta) -> None:
    clock = ManualClock()
    await asyncio.wait_for(clock.sleep(duration), timeout=60)
    assert clock.sleepers == 0


async def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="jump"):
        await ManualClock().advance(-SECOND)
