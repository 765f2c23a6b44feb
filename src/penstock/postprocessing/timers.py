"""Fires the timers that are due. They are data: this only looks, and any instance may look; one wins per timer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from ..clock import sleep_unless
from ..core.transition import Tick
from ..errors import Unavailable
from .batch import AT_ONCE, apply_each
from .coordinator import POLL
from .pauses import LONGEST, pause_after
from .resting import Resting

if TYPE_CHECKING:
    from datetime import datetime

    from ..clock import Clock
    from ..store.base import ProgressStore
    from .batch import Result
    from .coordinator import Coordinator

log = structlog.get_logger(__name__)

_SHORTEST = timedelta(milliseconds=5)
"""Timers that end soon, and are set all the time, make us look no more often than this."""
_BATCH = 100


class Timers:
    """Looks for due records, and has the coordinator act on them."""

    def __init__(self, *, store: ProgressStore, coordinator: Coordinator, clock: Clock) -> None:
        self._store = store
        self._coordinator = coordinator
        self._clock = clock
        self._resting = Resting(clock)

    async def run(self) -> None:
        """Fire timers until cancelled. A store or a bus that is away is waited for."""
        failures = 0
        while True:
            self._coordinator.near_timer.clear()
            looked_at = self._clock.now()
            try:
                moved, full = await self.fire()
                pause = _SHORTEST if full and moved else await self._until_next(looked_at, moved=moved > 0)
            except Exception as error:  # noqa: BLE001  # whatever it is, timers must go on
                failures += 1
                await self._pause(failures, error)
            else:
                failures = 0
                await self._wait(pause)

    async def fire(self) -> tuple[int, bool]:
        """Fire what is due now, one batch; return how many records moved, and whether there may be more.

        A record that cannot be moved rests for a while, and holds up no others.

        Raises:
            StoreUnavailable, BusUnavailable: nothing can be done at present.
        """
        limit = _BATCH + len(self._resting)
        due = await self._store.due(self._clock.now(), limit=limit)
        if len(due) < limit:
            self._resting.forget_others(due)
        awake = self._resting.awake(due)[:_BATCH]
        moved = 0
        for start in range(0, len(awake), AT_ONCE):
            results = await apply_each(self._coordinator, Tick(), awake[start : start + AT_ONCE])
            for result in results:
                self._note(result)
            moved += sum(result.applied for result in results)
            away = [result.error for result in results if result.unavailable and result.error]
            if len(away) == len(results):
                raise away[0]
        return moved, len(due) == limit

    def _note(self, result: Result) -> None:
        upload_id = result.saved.progress.upload_id
        if result.applied:
            self._resting.moved(upload_id)
        elif result.unavailable:
            self._resting.failed(upload_id, longest=LONGEST)
        else:  # it cannot be read or written, or is due for no reason that we know; or somebody else was faster
            self._resting.failed(upload_id)

    async def _pause(self, failures: int, error: Exception) -> None:
        pause = pause_after(failures)
        log.warning(
            "timers_wait",
            error=str(error) or type(error).__name__,
            seconds=pause.total_seconds(),
            exc_info=None if isinstance(error, Unavailable) else error,
        )
        await self._clock.sleep(pause)

    async def _wait(self, pause: timedelta) -> None:
        """Wait for `pause`, or until a timer was set that ends before the next look."""
        await self._clock.sleep(_SHORTEST)
        await sleep_unless(self._coordinator.near_timer, pause - _SHORTEST, self._clock)

    async def _until_next(self, looked_at: datetime, *, moved: bool) -> timedelta:
        next_due = await self._store.next_due()
        if next_due is None:
            return POLL
        # A record that was due when we looked, and could not be moved, must not keep us spinning.
        shortest = _SHORTEST if moved or next_due > looked_at else POLL
        return min(POLL, max(shortest, next_due - self._clock.now()))
