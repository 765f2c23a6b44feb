"""Gives up what has waited for too long, with one timer of the event loop for all that waits.

A timer for each, as `asyncio.timeout` makes it, costs more than the rest of a question to a server that answers at
once.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Deadlines(Generic[T]):
    """What waits, and until when. To be made and used on a running event loop."""

    def __init__(self, lapse: Callable[[T], object]) -> None:
        """`lapse` is called, once, with what has waited for too long; it must not raise."""
        self._lapse = lapse
        self._loop = asyncio.get_running_loop()
        self._until: dict[T, float] = {}
        self._looks_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiting: T, seconds: float) -> None:
        """Give `waiting` up after so many seconds, unless it is removed before."""
        until = self._until[waiting] = self._loop.time() + seconds
        if until < self._looks_at:
            self._look_at(until)

    def remove(self, waiting: T) -> None:
        """Forget what waits no longer. It may be forgotten already."""
        self._until.pop(waiting, None)

    def close(self) -> None:
        """Forget everything; nothing is given up after this."""
        self._until.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._looks_at = None, math.inf

    def _look_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at, self._timer = at, self._loop.call_at(at, self._look)

    def _look(self) -> None:
        # The timer was set for something that is long gone, as a rule: it is not moved with each that is removed.
        self._timer, self._looks_at = None, math.inf
        now = self._loop.time()
        for lapsed in [waiting for waiting, until in self._until.items() if until <= now]:
            if self._until.pop(lapsed, None) is not None:
                self._lapse(lapsed)
        if self._until:
            self._look_at(min(self._until.values()))
