"""A clock that jumps makes nothing old."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

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


async def test_a_larger_jump_inherits_no_patience_from_a_smaller_one() -> None:
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    hour = timedelta(hours=1)
    clock.jump(hour)
    time.now()
    await clock.advance(DAY - timedelta(minutes=1))
    clock.jump(YEAR)
    assert time.now() == clock.now() - YEAR - hour
    await clock.advance(timedelta(minutes=1))
    assert time.now() == clock.now() - YEAR, "the first one has lasted"
    await clock.advance(DAY - timedelta(minutes=2))
    assert time.now() == clock.now() - YEAR
    await clock.advance(timedelta(minutes=1))
    assert time.now() == clock.now()


async def test_the_way_back_from_a_jump_back_is_no_jump() -> None:
    """As on a machine without a battery, which begins in 1970 and then asks a time server."""
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    began_at = clock.now()
    clock.jump(-50 * YEAR)
    assert (time.now(), time.noticed(), time.latest()) == (clock.now(), began_at, began_at)
    clock.jump(50 * YEAR)
    assert (time.now(), time.noticed(), time.latest()) == (clock.now(), clock.now(), clock.now())


async def test_a_clock_that_was_put_back_is_believed_as_well_once_it_has_lasted() -> None:
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    clock.jump(-YEAR)
    time.now()
    await clock.advance(DAY - timedelta(seconds=1))
    assert time.latest() == clock.now() + YEAR
    await clock.advance(timedelta(seconds=1))
    assert time.latest() == clock.now()
    clock.jump(YEAR)
    assert time.now() == clock.now() - YEAR


async def test_a_clock_that_was_put_back_is_believed_also_over_restarts() -> None:
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    clock.jump(-YEAR)
    for _ in range(4):
        assert time.latest() == clock.now() + YEAR
        await clock.advance(DAY / 4)
        fresh = SteadyTime(clock, believed_after=DAY)
        fresh.restore(time.believed())
        time = fresh
    assert time.latest() == clock.now()
    assert time.believed().jumps == ()


async def test_what_a_restart_finds_ahead_is_a_jump_like_any_other() -> None:
    clock = ManualClock()
    before = SteadyTime(clock, believed_after=DAY)
    await clock.advance(DAY)
    believed = before.believed()
    for ahead in (timedelta(hours=12), YEAR):
        clock = ManualClock(believed.at + ahead)
        time = SteadyTime(clock, believed_after=DAY)
        time.restore(believed)
        assert (time.now(), time.noticed(), time.latest()) == (believed.at, believed.at, clock.now())
        assert time.doubted == ahead
        await clock.advance(DAY)
        assert (time.now(), time.doubted) == (clock.now(), timedelta())


async def test_a_machine_that_is_off_every_night_is_never_far_behind() -> None:
    wall = ManualClock().now()
    believed = SteadyTime(ManualClock(wall), believed_after=DAY).believed()
    for _ in range(100):
        wall += DAY / 2
        clock = ManualClock(wall)
        time = SteadyTime(clock, believed_after=DAY)
        time.restore(believed)
        for _ in range(12):
            assert clock.now() - time.now() <= 2 * DAY
            await clock.advance(timedelta(hours=1))
        believed, wall = time.believed(), clock.now()


async def test_one_jump_is_seen_once_however_often_somebody_looks() -> None:
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    clock.jump(YEAR)
    with capture_logs() as logged:
        for _ in range(10):
            time.now()
            await clock.advance(timedelta(minutes=1))
    assert [jump.ahead for jump in time.believed().jumps] == [YEAR]
    assert [entry["event"] for entry in logged] == ["clock_jumped_ahead"]


async def test_many_jumps_are_remembered_as_few() -> None:
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    for _ in range(200):
        clock.jump(timedelta(minutes=10))
        time.now()
    assert len(time.believed().jumps) <= 32
    await clock.advance(DAY)
    assert time.now() == clock.now()


@given(st.lists(st.tuples(st.timedeltas(-2 * YEAR, 2 * YEAR), st.timedeltas(timedelta(), DAY / 10)), max_size=9))
async def test_nothing_grows_older_than_it_is_while_no_jump_lasts(jumps: list[tuple[timedelta, timedelta]]) -> None:
    """Whatever the clock says meanwhile, and however often the machine starts anew."""
    clock = ManualClock()
    time = SteadyTime(clock, believed_after=DAY)
    began_at, passed = time.noticed(), timedelta()
    for jump, then in jumps:
        clock.jump(jump)
        fresh = SteadyTime(clock, believed_after=DAY)
        fresh.restore(time.believed())
        time = fresh
        await clock.advance(then)
        passed += then
        assert time.now() - began_at <= passed + len(jumps) * timedelta(minutes=5)
        assert time.latest() >= began_at
