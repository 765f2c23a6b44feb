"""Pauses before the next try."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from penstock.bus.local.retries import Retries
from penstock.bus.pauses import pause_after
from penstock.testing import ManualClock, eventually

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0.1), (2, 0.2), (3, 0.4), (9, 25.6), (10, 30), (11, 30), (10**9, 30)]
)
def test_the_pause_doubles_up_to_half_a_minute(failures: int, seconds: float) -> None:
    assert pause_after(failures) == timedelta(seconds=seconds)


async def test_calls_come_in_the_order_of_their_time() -> None:
    clock = ManualClock()
    retries = Retries(clock)
    called: list[str] = []
    task = asyncio.create_task(retries.run())
    retries.after(3 * SECOND, lambda: called.append("late"))
    await eventually(lambda: clock.sleepers == 1)
    retries.after(1 * SECOND, lambda: called.append("early"))  # ends the sleep that was meant for the late one
    retries.after(2 * SECOND, lambda: called.append("middle"))
    await clock.advance(SECOND)
    assert called == ["early"]
    await clock.advance(SECOND)
    assert called == ["early", "middle"]
    await clock.advance(10 * SECOND)
    assert called == ["early", "middle", "late"]
    task.cancel()
    await asyncio.wait([task])
    assert clock.sleepers == 0


async def test_what_was_added_before_it_runs_is_not_forgotten() -> None:
    clock = ManualClock()
    retries = Retries(clock)
    called: list[str] = []
    retries.after(SECOND, lambda: called.append("first"))
    task = asyncio.create_task(retries.run())
    await clock.advance(SECOND)
    retries.after(SECOND, lambda: called.append("second"))
    await clock.advance(SECOND)
    task.cancel()
    assert called == ["first", "second"]


async def test_a_jump_of_the_wall_clock_changes_no_pause() -> None:
    clock = ManualClock()
    retries = Retries(clock)
    called: list[str] = []
    task = asyncio.create_task(retries.run())
    retries.after(2 * SECOND, lambda: called.append("called"))
    clock.jump(timedelta(days=1))
    await clock.advance(SECOND)
    assert called == []
    clock.jump(timedelta(days=-2))
    await clock.advance(SECOND)
    assert called == ["called"]
    task.cancel()
