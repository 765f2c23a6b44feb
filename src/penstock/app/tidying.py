"""The parts of `penstock serve` that remove what is over: at the start, and from then on."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from ..uploads.garbage.collecting import Means
from ..uploads.garbage.collector import Collector
from ..uploads.garbage.expiry import Sweeper
from ..uploads.garbage.orphans import Orphans
from ..uploads.locking.leading import lead
from .garbage import NOTICED, Garbage
from .instances import EMPTY_AFTER, finish_what_the_dead_have_left

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..clock import Clock
    from ..settings import Settings
    from ..telemetry import Metrics
    from .ground import Ground
    from .uploading import Uploading


class Tidying:
    """Where there are several instances, it is done by one of them."""

    def __init__(
        self, settings: Settings, ground: Ground, uploading: Uploading, clock: Clock, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._uploading = uploading
        self._clock = clock
        self._orphans = Orphans(ground.database)
        self._sweeper = Sweeper(
            catalogue=uploading.catalogue,
            blobs=ground.blobs,
            gateway=uploading.gateway,
            receiver=uploading.receiver,
            feed=uploading.feed,
            orphans=self._orphans,
            clock=clock,
            retention=settings.retention,
            orphans_after=settings.upload_expiration,
            time=uploading.time,
            remembered=uploading.remembered,
            room=ground.reserve.lent,
            empty_after=timedelta(0) if uploading.locks is None else EMPTY_AFTER,
        )
        means = Means(
            catalogue=uploading.catalogue,
            blobs=ground.blobs,
            gateway=uploading.gateway,
            receiver=uploading.receiver,
            noticed=Orphans(ground.database, where=NOTICED),
            time=uploading.time,
            retention=settings.retention,
            records=None if settings.store == "noop" else ground.store,
        )
        self.garbage = Garbage(
            Collector(means, older_than=settings.gc_older_than),
            reserve=ground.reserve,
            metrics=metrics,
            clock=clock,
            interval=settings.gc_interval,
        )

    async def begin(self) -> None:
        """Remove what the last process has left, before anything comes in; of several instances, none does so."""
        if self._uploading.locks is None:
            await self._sweeper.sweep()
            if await self._orphans.seen():  # nothing is on its way in yet: what has no entry twice never gets one
                await self._sweeper.sweep()

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs for as long as the service does."""
        locks, gateway, clock = self._uploading.locks, self._uploading.gateway, self._clock
        all_the_time = [self._sweeper.run, self.garbage.run, self._uploading.removal.run]
        if locks is None:
            return [run() for run in all_the_time]
        alone: list[Callable[[], Coroutine[Any, Any, None]]] = [
            partial(finish_what_the_dead_have_left, gateway, locks, clock, self._settings.instance_lease),
            *all_the_time,
        ]
        return [lead(alone, locks, clock)]
