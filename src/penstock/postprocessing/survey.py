"""How old the oldest work is and how much of it stands still: a walk over all records, not repeated at each look."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from ..core.progress import State

if TYPE_CHECKING:
    from datetime import timedelta

    from ..clock import Clock
    from ..store.base import ProgressStore

_KEPT_SECONDS = 10.0


class Numbers(msgspec.Struct, frozen=True):
    """What a walk has found."""

    oldest_seconds: float = 0.0
    """Age of the longest-running postprocessing that has not ended."""
    stalled: int = 0
    """Uploads that wait for an answer for too long."""


class Survey:
    """Walks over the records at most every ten seconds, however often and by however many it is asked."""

    def __init__(self, *, store: ProgressStore, clock: Clock, stalled_after: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._stalled_after_seconds = stalled_after.total_seconds()
        self._numbers: Numbers | None = None
        self._taken_at = 0.0
        self._walking = asyncio.Lock()

    async def numbers(self) -> Numbers:
        """Return numbers that are at most ten seconds old.

        Raises:
            StoreUnavailable: there are none.
        """
        async with self._walking:
            known = self._numbers
            if known is None or self._clock.monotonic() - self._taken_at > _KEPT_SECONDS:
                known = self._numbers = await self._walk()
                self._taken_at = self._clock.monotonic()
        return known

    async def _walk(self) -> Numbers:
        now = self._clock.now()
        oldest, stalled = 0.0, 0
        async for saved in self._store.all():
            progress = saved.progress
            stalled += progress.stalled(now, self._stalled_after_seconds)
            if progress.started_at is not None and progress.state not in (State.FAILED, State.ENDED):
                oldest = max(oldest, (now - progress.started_at).total_seconds())
        return Numbers(oldest, stalled)
