"""A clock that jumps makes nothing old."""

from __future__ import annotations

from datetime import timedelta

from penstock.testing import ManualClock
from penstock.uploads.steady import SteadyTime

DAY = timedelta(days=1)
YEAR = timedelta(days=365)


async def test_time_passes_as_it_does() -> None:
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    for _ in range(3):
        await clock.advance(10 * DAY)
        assert time.now() == clock.now()


async def test_a_year_ahead_counts_once_it_has_lasted() -> None:
    clock = ManualClock()
    began_at = clock.now()
    time = SteadyTime(clock, believed_after=DAY)
    clock.jump(YEAR)
    assert time.now() == began_at
    await clock.advance(DAY - timedelta(seconds=1))
    assert time.now() == began_at + DAY - timedelta(seconds=1)
    await clock.advance(timedelta(seconds=1))
    assert time.now() == clock.now()


async def test_a_jump_that_is_put_right_leaves_nothing_behind() -> None:
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    clock.jump(YEAR)
    time.now()
    clock.jump(-YEAR)
    await clock.advance(DAY)
    assert time.now() == clock.now()
    clock.jump(YEAR)  # the next one is another one
    assert time.now() == clock.now() - YEAR


async def test_a_jump_back_makes_nothing_older() -> None:
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    clock.jump(-YEAR)
    assert time.now() == clock.now()


async def test_what_time_servers_put_right_is_no_jump() -> None:
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    clock.jump(timedelta(minutes=4))
    assert time.now() == clock.now()
