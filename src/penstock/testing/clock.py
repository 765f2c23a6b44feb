"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta
from typing import Final

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TURNS: Final = 20
"""Turns of the event loop that whoever wakes gets before time moves on: enough for a chain of that many tasks that
hand something on to each other."""


class ManualClock:
    """A `penstock.clock.Clock` that stands still until a test moves it."""

    def __init__(self, start: datetime = _START) -> None:
        """Begin at `start`, which is aware."""
        self._now = start
        self._monotonic = timedelta()
        self._order = itertools.count()
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the wall-clock time."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that the clock was advanced by so far; jumps do not count."""
        return self._monotonic.total_seconds()

    async def sleep(self, duration: timedelta) -> None:
        """Wait until a test has advanced the clock by `duration`; zero or less only lets others run."""
        if duration <= timedelta():
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + duration, next(self._order), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks sleep on this clock: wait for the expected number before advancing."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, duration: timedelta) -> None:
        """Let `duration` pass, waking sleepers in order, each at its own time.

        Whoever wakes may go to sleep again and be woken again on the way: a loop that sleeps for 1 s runs ten times
        in 10 s. Each gets a number of turns of the event loop, but not the time that a thread needs: poll with
        `eventually` for what follows from the waking.

        Raises:
            ValueError: `duration` is negative; only the wall clock goes back, see `jump`.
        """
        if duration < timedelta():
            raise ValueError(f"{duration}: time does not go back; use jump for the wall clock")
        end = self._monotonic + duration
        await self._settle()  # whoever is about to sleep, does so at the present time
        while self._sleepers and self._sleepers[0][0] <= end:
            wakes_at, _, woken = heapq.heappop(self._sleepers)
            if woken.done():
                continue  # its task was cancelled
            self._pass(wakes_at - self._monotonic)
            woken.set_result(None)
            await self._settle()
        self._pass(end - self._monotonic)

    def jump(self, difference: timedelta) -> None:
        """Set the wall clock forward or back, as an operator or a time server does. Nobody wakes."""
        self._now += difference

    def _pass(self, duration: timedelta) -> None:
        self._now += duration
        self._monotonic += duration

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
