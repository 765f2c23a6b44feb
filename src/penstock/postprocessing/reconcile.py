"""Compares what is saved with what should be happening, and says again what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ..core.transition import Announce, Tick
from ..errors import Unavailable

if TYPE_CHECKING:
    from datetime import timedelta

    from ..clock import Clock
    from ..store.base import ProgressStore
    from .coordinator import Coordinator

log = structlog.get_logger(__name__)


class Reconciler:
    """Walks over all records: once at start, and every `interval` from then on."""

    def __init__(self, *, store: ProgressStore, coordinator: Coordinator, clock: Clock, interval: timedelta) -> None:
        self._store = store
        self._coordinator = coordinator
        self._clock = clock
        self._interval = interval

    async def announce(self) -> int:
        """Say again what every upload awaits, for a bus that has forgotten it; return how many were told."""
        told = 0
        async for saved in self._store.all():
            transition = await self._coordinator.apply(saved.progress.upload_id, Announce())
            told += len(transition.emits) > 0
        if told:
            log.info("awaited_events_announced", uploads=told)
        return told

    async def mend(self) -> int:
        """Set right every record whose timers cannot be relied on; return how many there were."""
        mended = 0
        async for saved in self._store.all():
            if saved.progress.neglected(self._clock.now()):
                await self._coordinator.apply(saved.progress.upload_id, Tick())
                mended += 1
        if mended:
            log.warning("neglected_uploads_mended", uploads=mended)
        return mended

    async def run(self) -> None:
        """Mend every interval until cancelled. A store or a bus that is away is waited for."""
        while True:
            await self._clock.sleep(self._interval)
            try:
                await self.mend()
            except Unavailable as error:
                log.warning("reconciliation_waits", error=str(error))
