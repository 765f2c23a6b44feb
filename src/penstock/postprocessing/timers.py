"""Fires the timers that are due. They are data: this only looks, and any instance may look; one wins per timer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from ..core.transition import Tick, Verdict
from ..errors import Unavailable
from .coordinator import POLL

if TYPE_CHECKING:
    from ..clock import Clock
    from ..store.base import ProgressStore
    from .coordinator import Coordinator

log = structlog.get_logger(__name__)

_SHORTEST = timedelta(milliseconds=5)
_BATCH = 100
_AT_ONCE = 16
"""Timers of one batch that are fired concurrently."""


class Timers:
    """Looks for due records, and has the coordinator act on them."""

    def __init__(self, *, store: ProgressStore, coordinator: Coordinator, clock: Clock) -> None:
        self._store = store
        self._coordinator = coordinator
        self._clock = clock

    async def run(self) -> None:
        """Fire timers until cancelled. A store or a bus that is away is waited for."""
        while True:
            self._coordinator.near_timer.clear()
            try:
                moved, full = await self.fire()
                pause = timedelta(0) if full and moved else await self._until_next(moved=moved > 0)
            except Unavailable as error:
                log.warning("timers_wait", error=str(error))
                pause = POLL
            await self._wait(pause)

    async def fire(self) -> tuple[int, bool]:
        """Fire what is due now, one batch; return how many records moved, and whether there may be more."""
        due = await self._store.due(self._clock.now(), limit=_BATCH)
        moved = 0
        for start in range(0, len(due), _AT_ONCE):
            uploads = [saved.progress.upload_id for saved in due[start : start + _AT_ONCE]]
            transitions = await asyncio.gather(*(self._coordinator.apply(upload, Tick()) for upload in uploads))
            moved += sum(transition.verdict is Verdict.APPLIED for transition in transitions)
        return moved, len(due) == _BATCH

    async def _wait(self, pause: timedelta) -> None:
        """Wait for `pause`, or until a timer was set that ends before the next look."""
        waits = {
            asyncio.ensure_future(self._clock.sleep(pause)),
            asyncio.ensure_future(self._coordinator.near_timer.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _until_next(self, *, moved: bool) -> timedelta:
        next_due = await self._store.next_due()
        if next_due is None:
            return POLL
        left = next_due - self._clock.now()
        # A record that is due and cannot be moved must not keep us spinning.
        shortest = _SHORTEST if moved or left > timedelta(0) else POLL
        return min(POLL, max(shortest, left))
