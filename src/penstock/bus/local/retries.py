"""Events whose handler has raised, each with the time of its next try."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

from ...clock import sleep_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...clock import Clock


class Retries:
    """Calls back when a pause is over. One task for all: a store that is away makes thousands of events pause."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._earlier = asyncio.Event()

    def after(self, pause: timedelta, call: Callable[[], None]) -> None:
        """Call `call` once `pause` is over, while `run` runs."""
        due = self._clock.monotonic() + pause.total_seconds()
        if not self._waiting or due < self._waiting[0][0]:
            self._earlier.set()
        heapq.heappush(self._waiting, (due, next(self._order), call))

    async def run(self) -> None:
        """Call what is due, until cancelled."""
        while True:
            self._earlier.clear()
            self._call_due()
            if not self._waiting:
                await self._earlier.wait()
                continue
            left = self._waiting[0][0] - self._clock.monotonic()
            # What was added meanwhile may end earlier.
            await sleep_unless(self._earlier, timedelta(seconds=left), self._clock)

    def _call_due(self) -> None:
        # A monotonic clock and a timer may disagree by a rounding error; without the slack we would spin on it.
        now = self._clock.monotonic() + 0.001
        while self._waiting and self._waiting[0][0] <= now:
            heapq.heappop(self._waiting)[2]()
