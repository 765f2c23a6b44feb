"""Garbage collection in a running server: by itself every so often, and when somebody asks; counted, with room to work.

`open_collector` is for when no server runs.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from .. import backends
from ..bus.publish import Publisher
from ..clock import SystemClock
from ..db import Database
from ..errors import ConfigurationError, PenstockError
from ..uploads.catalogue.catalogue import Catalogue
from ..uploads.catalogue.feed import Feed
from ..uploads.garbage.collecting import Means
from ..uploads.garbage.collection import Report
from ..uploads.garbage.collector import Collector
from ..uploads.garbage.orphans import Orphans
from ..uploads.gateway.gateway import Gateway
from ..uploads.remembered import RememberedTime
from ..uploads.steady import SteadyTime
from .folder import locked_folder
from .reserve import Reserve
from .storage import storage_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from ..clock import Clock
    from ..settings import Settings
    from ..telemetry import Metrics
    from ..uploads.garbage.collecting import News

log = structlog.get_logger(__name__)

NOTICED: Final = "gc"
"""Under which collections remember bytes without an entry; the sweeper has its own."""
_FIRST: Final = timedelta(minutes=10)
"""After the start, when the first collection is: a server that is restarted every day shall have one as well."""


class Garbage:
    """Collects it.

    Args:
        collector: does the work.
        reserve: room to work in when the disk is full.
        metrics: counts what is found and removed.
        clock: waits.
        interval: how long to wait between two collections; None: there are none unless somebody asks.
    """

    def __init__(
        self, collector: Collector, *, reserve: Reserve, metrics: Metrics, clock: Clock, interval: timedelta | None
    ) -> None:
        self._collector = collector
        self._reserve = reserve
        self._metrics = metrics
        self._clock = clock
        self._interval = interval

    async def run(self) -> None:
        """Collect every so often until cancelled, whatever goes wrong. Strays are reported, not removed."""
        if self._interval is None:
            return
        await self._clock.sleep(min(self._interval, _FIRST))
        while True:
            try:
                async with aclosing(self.news(dry_run=False, strays=False)) as news:
                    async for _ in news:
                        pass
            except PenstockError as error:
                log.warning("garbage_collection_failed", error=str(error))
            except Exception:
                log.exception("garbage_collection_failed")  # nothing that is tidied up is worth the end of the server
            await self._clock.sleep(self._interval)

    async def news(
        self, *, dry_run: bool, older_than: timedelta | None = None, strays: bool = True
    ) -> AsyncGenerator[News, None]:
        """Do what `Collector.news` does, and count it."""
        async with (
            self._reserve.lent(),
            aclosing(self._collector.news(dry_run=dry_run, older_than=older_than, strays=strays)) as news,
        ):
            async for one in news:
                if isinstance(one, Report):
                    self._count(one)
                yield one

    def _count(self, report: Report) -> None:
        metrics = self._metrics
        for total in report.totals:
            metrics.garbage_found.labels(total.kind).set(total.found + total.kept - total.done)
            metrics.garbage_removed.labels(total.kind).inc(total.done)
            metrics.garbage_failed.labels(total.kind).inc(total.failed)
            metrics.garbage_freed_bytes.labels(total.kind).inc(total.freed_bytes)
        if not report.dry_run:
            metrics.garbage_collected_at.set(self._clock.now().timestamp())
        if report.done or report.kept or report.notes:
            log.info(
                "garbage_collected",
                done=report.done,
                freed_bytes=report.freed_bytes,
                kept=report.kept,
                failed=report.failed,
                notes=report.notes,
            )


@asynccontextmanager
async def open_collector(settings: Settings) -> AsyncIterator[Collector]:
    """Open what a collection needs where no server runs; it makes room for itself first.

    Raises:
        ConfigurationError: the data folder cannot be used, or a server works in it; or a setting is wrong.
        Unavailable: the storage does not answer.
    """
    folder, clock = settings.data_dir, SystemClock()
    if settings.database_url:
        raise ConfigurationError(
            f"database_url ({settings.origins.get('database_url')}): other instances may be at work, so one of them "
            "has to do it. Say where it is with --url."
        )
    async with AsyncExitStack() as stack:
        stack.enter_context(locked_folder(folder))
        await stack.enter_async_context(Reserve(folder).lent())
        database = await stack.enter_async_context(Database(f"sqlite:///{folder / 'penstock.db'}"))
        storage = storage_of(settings, folder / "blobs", lambda _, part: part)
        blobs = await stack.enter_async_context(storage.blobs)
        bus = await stack.enter_async_context(backends.load("bus", "local")(clock))
        feed = await stack.enter_async_context(Feed(database, clock))
        catalogue = Catalogue(database, feed, clock)
        time = SteadyTime(clock, believed_after=settings.upload_expiration)
        await RememberedTime(database, time).recall()
        gateway = Gateway(catalogue=catalogue, blobs=blobs, bus=bus, publisher=Publisher(bus, clock), clock=clock)
        means = Means(
            catalogue=catalogue,
            blobs=blobs,
            gateway=gateway,
            receiver=gateway,
            noticed=Orphans(database, where=NOTICED),
            time=time,
            retention=settings.retention,
            serving=False,
        )
        yield Collector(means, older_than=settings.gc_older_than)
