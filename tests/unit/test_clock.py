"""The computer's own clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from penstock.clock import SystemClock, sleep_unless
from penstock.testing import ManualClock


def test_now_is_the_time_of_the_system_in_utc() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_monotonic_seconds_never_go_back() -> None:
    clock = SystemClock()
    seconds = [clock.monotonic() for _ in range(1000)]
    assert seconds == sorted(seconds)


async def test_sleep_lasts_as_long_as_was_said_and_lets_others_work() -> None:
    clock = SystemClock()
    order: list[str] = []

    async def sleeper() -> None:
        began = clock.monotonic()
        await clock.sleep(timedelta(milliseconds=20))
        # The event loop's own clock may be finer or coarser than ours by its resolution.
        assert clock.monotonic() - began >= 0.019
        order.append("slept")

    async def worker() -> None:
        order.append("worked")

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(sleeper())
        tasks.create_task(worker())
    assert order == ["worked", "slept"]


@pytest.mark.parametrize("duration", [timedelta(0), timedelta(days=-1), timedelta.min])
async def test_no_time_to_wait_is_no_error(duration: timedelta) -> None:
    async with asyncio.timeout(60):
        await SystemClock().sleep(duration)


async def test_a_sleep_ends_early_when_something_happens_and_leaves_nobody_waiting() -> None:
    clock, happened = ManualClock(), asyncio.Event()
    asleep = asyncio.ensure_future(sleep_unless(happened, timedelta(seconds=5), clock))
    await clock.advance(timedelta(seconds=4))
    assert not asleep.done()
    happened.set()
    await asleep
    assert not clock.sleepers
    happened.clear()
    asleep = asyncio.ensure_future(sleep_unless(happened, timedelta(seconds=5), clock))
    await clock.advance(timedelta(seconds=5))
    await asleep
