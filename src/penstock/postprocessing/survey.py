"""How old the oldest work is and how much of it stands still: from a walk over all records that is not repeated often.

The periodic walk that mends records counts on its way, too, so that there is one walk for both where there are many.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from ..core.progress import State
from ..events.types import DELAY
from ..rests import Rests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime, timedelta

    from ..clock import Clock
    from ..core.progress import Progress
    from ..store.base import KnowsAnswers, ProgressStore

_KEPT_SECONDS: Final = 10.0
_QUICK_SECONDS: Final = 0.5
"""A walk that took longer is not repeated for who asks; there is one every minute or so anyway."""
_COUNT_SHARE: Final = 20
"""Counts that took a second are kept for this many."""


class Numbers(msgspec.Struct, frozen=True):
    """What a walk has found."""

    oldest_seconds: float = 0.0
    """Age of the longest-running postprocessing that has not ended."""
    stalled: int = 0
    """Uploads that wait for an answer for too long."""


class Tally:
    """Counts during one walk."""

    def __init__(self, now: datetime, stalled_after_seconds: float) -> None:
        self._now = now
        self._stalled_after_seconds = stalled_after_seconds
        self._began: datetime | None = None
        self._stalled = 0

    def add(self, progress: Progress) -> None:
        """Take one record into account."""
        self._stalled += progress.stalled(self._now, self._stalled_after_seconds)
        began = progress.started_at
        if began is None or progress.state in (State.FAILED, State.ENDED):
            return
        if self._began is None or began < self._began:
            self._began = began

    @property
    def numbers(self) -> Numbers:
        """What was counted so far."""
        age = 0.0 if self._began is None else (self._now - self._began).total_seconds()
        return Numbers(max(0.0, age), self._stalled)


class Survey:
    """Has the records walked over at most every ten seconds, however often and by however many it is asked."""

    def __init__(self, *, store: ProgressStore, clock: Clock, stalled_after: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._stalled_after_seconds = stalled_after.total_seconds()
        self._numbers: Numbers | None = None
        self._tally: Tally | None = None
        """Of the walk that is, or was, the latest one."""
        self._taken_at = 0.0
        self._took_seconds = 0.0
        self._walking = asyncio.Lock()
        self._counts: dict[str, int] | None = None
        self._count_again_at = 0.0
        self._counting = asyncio.Lock()

    async def numbers(self) -> Numbers:
        """Return numbers that are at most ten seconds old; where a walk takes long, those of the last one.

        Raises:
            StoreUnavailable: there are none.
        """
        if self._numbers is not None and self._took_seconds > _QUICK_SECONDS:
            return self._numbers
        async with self._walking:
            known = self._numbers
            if known is None or self._clock.monotonic() - self._taken_at > _KEPT_SECONDS:
                known = await self._walk()
        return known

    @property
    def known(self) -> Numbers:
        """The latest numbers; as long as there are none, what the first walk has counted so far."""
        if self._numbers is not None:
            return self._numbers
        return Numbers() if self._tally is None else self._tally.numbers

    async def counts(self) -> dict[str, int]:
        """Return how many records are in each step: now, or where counting takes long, some time ago.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        async with self._counting:
            begun_at = self._clock.monotonic()
            if self._counts is None or begun_at >= self._count_again_at:
                self._counts = await self._store.count_by_step()
                ended_at = self._clock.monotonic()
                self._count_again_at = ended_at + _COUNT_SHARE * (ended_at - begun_at)
            return self._counts

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[Tally]:
        """Count on a walk of somebody else's; if it comes to its end, its numbers are the latest."""
        async with self._walking:
            tally, begun_at = self._new_tally(), self._clock.monotonic()
            yield tally
            self._keep(tally, begun_at)

    async def _walk(self) -> Numbers:
        tally, begun_at, rests = self._new_tally(), self._clock.monotonic(), Rests(self._clock)
        async for saved in self._store.all():
            tally.add(saved.progress)
            await rests.after()
        return self._keep(tally, begun_at)

    def _new_tally(self) -> Tally:
        self._tally = Tally(self._clock.now(), self._stalled_after_seconds)
        return self._tally

    def _keep(self, tally: Tally, begun_at: float) -> Numbers:
        self._numbers = tally.numbers
        self._taken_at = self._clock.monotonic()
        self._took_seconds = self._taken_at - begun_at
        return self._numbers


async def never_answered(store: KnowsAnswers, steps: Iterable[str]) -> list[str]:
    """Return those of the steps that no service has ever answered: not there yet, or spelt otherwise there.

    Raises:
        StoreUnavailable: nobody can tell.
    """
    known = {*await store.answered(), DELAY}  # which the coordinator does itself
    return [step for step in steps if step not in known]
