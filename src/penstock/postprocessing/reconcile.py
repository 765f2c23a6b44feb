"""Compares what is saved with what should be happening, and says again what is missing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from ..core.transition import Announce, Tick
from ..errors import Unavailable
from ..rests import Rests
from .batch import apply_each, in_batches
from .pauses import pause_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from ..bus.memory import Memory
    from ..clock import Clock
    from ..store.base import ProgressStore, Saved
    from .coordinator import Coordinator
    from .survey import Survey

log = structlog.get_logger(__name__)

PATIENCE = timedelta(seconds=10)
"""How long a start is held up by a store or a bus that is away, or by a bus without room for all there is to say."""
_START = timedelta(seconds=1)
"""How long a start is held up by what there is to say, where all are there to hear it."""
_SHARE = 20
"""Of the time, the part that periodic walks take at most."""
_SAID_AT_ONCE = 8
"""Uploads that are announced between two rests: two milliseconds or three, which is what others have to wait."""


class Reconciler:
    """Walks over all records: once at start, every `interval` from then on, and when the bus has lost its memory.

    Where a walk takes long because there are many records, the pauses are longer: twenty times what it took.
    """

    def __init__(
        self,
        *,
        store: ProgressStore,
        coordinator: Coordinator,
        memory: Memory,
        clock: Clock,
        interval: timedelta,
        survey: Survey,
    ) -> None:
        """Build it; `memory` is the one of the bus that the coordinator publishes to."""
        self._store = store
        self._memory = memory
        self._coordinator = coordinator
        self._clock = clock
        self._interval = interval
        self._survey = survey
        self._walk: AsyncIterator[list[Saved]] | None = None
        """Of what is announced; None when all has been."""
        self._left: list[Saved] = []
        """What the walk has yielded and the bus would not take."""
        self._told = 0
        self._before: datetime | None = None
        """What began before then is announced; None: everything."""
        self._caught_up_with: datetime | None = None
        """The beginning of the bus's memory for which all was announced."""

    async def announce(self, *, patience: timedelta = PATIENCE) -> int:
        """Say again what every upload awaits, for a bus that has forgotten it; return how many were told.

        A store that is away, and a bus that is away or full, are waited for. What could not be said once they have
        held us up for `patience` in a row is said by `run`: uploads wait then, but nothing else does.
        """
        self._caught_up_with = self._memory.begins_at
        self._begin_walk(before=None)
        if not await self._go_on(patience, at_most=_START):
            log.warning("announcements_wait", told=self._told, hint="the rest is said as soon as the bus takes it")
        return self._told

    async def mend(self) -> int:
        """Set right every record whose timers cannot be relied on; return how many there were.

        Raises:
            StoreUnavailable, BusUnavailable: not all were looked at; the next call does.
        """
        mended, rests = 0, Rests(self._clock)
        async with self._survey.counted() as tally:
            async for batch in in_batches(self._store.all()):
                neglected = []
                for saved in batch:
                    tally.add(saved.progress)
                    if saved.progress.neglected(self._clock.now()):
                        neglected.append(saved)
                if neglected:
                    mended += await self._mend(neglected)
                await rests.after(len(batch))
        if mended:
            log.warning("neglected_uploads_mended", uploads=mended)
        return mended

    async def _mend(self, neglected: list[Saved]) -> int:
        results = await apply_each(self._coordinator, Tick(), neglected)
        away = [result.error for result in results if result.unavailable and result.error]
        if away and len(away) == len(results):
            raise away[0]
        return sum(result.applied for result in results)

    async def run(self) -> None:
        """Say what could not be said at start; then mend, and say what the bus has lost, until cancelled."""
        await self._go_on(None)
        await self._say_what_was_lost()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_said())
            tasks.create_task(self._keep_mended())

    async def _keep_mended(self) -> None:
        while True:
            begun_at = self._clock.monotonic()
            try:
                await self.mend()
            except Unavailable as error:
                log.warning("reconciliation_waits", error=str(error))
            except Exception:
                log.exception("reconciliation_failed")
            took = timedelta(seconds=self._clock.monotonic() - begun_at)
            await self._clock.sleep(max(self._interval, took * _SHARE))

    async def _keep_said(self) -> None:
        while True:
            await self._memory.moved_from(self._caught_up_with)
            await self._say_what_was_lost()

    async def _say_what_was_lost(self) -> None:
        """Say again what every upload awaits that the bus has forgotten, or never had: its stream was made since."""
        begins_at = self._memory.begins_at
        if begins_at is not None and begins_at != self._caught_up_with:
            self._begin_walk(before=begins_at)
            await self._go_on(None)
            self._caught_up_with = begins_at

    def _begin_walk(self, *, before: datetime | None) -> None:
        self._before, self._left, self._told = before, [], 0
        self._walk = self._batches()

    def _batches(self) -> AsyncIterator[list[Saved]]:
        return in_batches(self._store.all(), _SAID_AT_ONCE)

    def _may_be_lost(self, saved: Saved) -> bool:
        """Tell whether what a record awaits was said before the bus's memory begins.

        Of what a Go instance has said, nobody knows when that was; such records are mended anyway.
        """
        if self._before is None:
            return True
        said_at = saved.progress.step_started_at or saved.progress.updated_at
        return said_at is not None and said_at <= self._before

    async def _go_on(self, patience: timedelta | None, *, at_most: timedelta | None = None) -> bool:
        """Announce until all is said; return False once we were held up for `patience` (None: however long).

        What would take longer than `at_most` by itself is left as well.
        """
        failures, held_up, begun_at, said = 0, timedelta(), self._clock.monotonic(), 0
        rests = Rests(self._clock, stretch=_SAID_AT_ONCE, share=1.0)
        while self._walk is not None:
            if at_most is not None and timedelta(seconds=self._clock.monotonic() - begun_at) > at_most:
                log.info("announcements_go_on", told=self._told)
                return True
            await rests.after(said)
            said = _SAID_AT_ONCE
            try:
                await self._announce_batch()
                failures, held_up = 0, timedelta()
            except Exception as error:  # noqa: BLE001  # a start must not fail for one, and no upload be forgotten
                failures += 1
                pause = pause_after(failures)
                if patience is not None and held_up + pause > patience:
                    return False
                self._note_held_up(error, pause)
                slept_from = self._clock.monotonic()
                await self._clock.sleep(pause)
                begun_at += self._clock.monotonic() - slept_from
                held_up += pause
        return True

    async def _announce_batch(self) -> None:
        """Announce one batch. Raises with those in `_left` that were not told for lack of the store or the bus."""
        if not self._left:
            await self._read_on()
        await self._coordinator.room()
        results = await apply_each(self._coordinator, Announce(), self._left)
        self._told += sum(result.transition is not None and bool(result.transition.emits) for result in results)
        away = [result for result in results if result.unavailable]
        self._left = [result.saved for result in away]
        for result in away:
            if result.error is not None:
                raise result.error

    async def _read_on(self) -> None:
        if self._walk is None:
            return
        try:
            self._left = [saved for saved in await anext(self._walk) if self._may_be_lost(saved)]
        except StopAsyncIteration:
            self._walk = None
            if self._told:
                log.info("awaited_events_announced", uploads=self._told)
        except Exception:
            self._walk = self._batches()  # a walk that has failed is over: begin anew, with the same IDs
            raise

    def _note_held_up(self, error: Exception, pause: timedelta) -> None:
        trace = None if isinstance(error, Unavailable) else error
        message = str(error) or type(error).__name__
        log.warning("announcements_held_up", error=message, seconds=pause.total_seconds(), exc_info=trace)
