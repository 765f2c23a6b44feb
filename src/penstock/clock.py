"""Time, as a thing that is handed in: the product never asks the system for it elsewhere."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits; `penstock.testing.ManualClock` is the one that tests move by hand."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC. It may jump in either direction."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring durations."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait for `duration`; return at once when it is zero or negative."""
        ...


class SystemClock:
    """The computer's own clock."""

    def now(self) -> datetime:
        """Return the system's wall-clock time in UTC."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """Return the system's monotonic seconds."""

    async def sleep(self, duration: timedelta) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(max(0.0, duration.total_seconds()))


async def sleep_unless(happened: asyncio.Event, duration: timedelta, clock: Clock) -> None:
    """Wait for `duration`, or until an event is set that has something done before."""
    waits = [asyncio.ensure_future(clock.sleep(duration)), asyncio.ensure_future(happened.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
