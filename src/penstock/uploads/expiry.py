"""Tidies up by itself: uploads never completed, entries that nobody asks for any more, bytes without a name."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ..errors import PenstockError

if TYPE_CHECKING:
    from ..blobs.base import BlobStore
    from ..clock import Clock
    from .catalogue import Catalogue
    from .feed import Feed
    from .gateway import Gateway

log = structlog.get_logger(__name__)

_INTERVAL: Final = timedelta(minutes=1)


class Report(msgspec.Struct, frozen=True):
    """What was tidied up, or would be."""

    expired: int = 0
    """Unfinished uploads whose time was over."""
    forgotten: int = 0
    """Entries of uploads without bytes, older than the retention."""
    orphans: int = 0
    """Staged bytes that belong to no upload, twice in a row."""
    feed_entries: int = 0


class Sweeper:
    """Sweeps every minute. It never removes bytes of an upload that the catalogue has not given up.

    Args:
        retention: how long entries of uploads that are gone stay in the list.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        gateway: Gateway,
        feed: Feed,
        clock: Clock,
        retention: timedelta,
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._gateway = gateway
        self._feed = feed
        self._clock = clock
        self._retention = retention
        self._suspects: set[str] = set()

    async def run(self) -> None:
        """Sweep until cancelled, and announce again what may never have been heard of."""
        while True:
            await self._clock.sleep(_INTERVAL)
            try:
                await self._gateway.announce_all(received_before=self._clock.now() - _INTERVAL)
                report = await self.sweep()
            except PenstockError as error:
                log.warning("sweep_failed", error=str(error))
            else:
                if report != Report():
                    log.info("swept", **msgspec.structs.asdict(report))

    async def sweep(self, *, dry_run: bool = False) -> Report:
        """Tidy up once, or (`dry_run`) only count."""
        return Report(
            expired=await self._expire(dry_run=dry_run),
            forgotten=await self._forget(dry_run=dry_run),
            orphans=await self._remove_orphans(dry_run=dry_run),
            feed_entries=0 if dry_run else await self._feed.trim(),
        )

    async def _expire(self, *, dry_run: bool) -> int:
        expired = 0
        async for batch in self._catalogue.overdue(self._clock.now()):
            for upload in batch:
                expired += dry_run or await self._gateway.expire(upload)
        return expired

    async def _forget(self, *, dry_run: bool) -> int:
        forgotten = 0
        async for batch in self._catalogue.gone_before(self._clock.now() - self._retention):
            ids = [upload.id for upload in batch]
            forgotten += len(ids) if dry_run else await self._catalogue.forget(ids)
        return forgotten

    async def _remove_orphans(self, *, dry_run: bool) -> int:
        """Remove staged bytes that had no entry at the last sweep either: an upload's bytes come before its entry."""
        staged = await self._blobs.staged()
        known = await self._catalogue.get_many(staged)
        orphans = {upload_id for upload_id in staged if upload_id not in known}
        lasting = orphans & self._suspects
        if not dry_run:
            self._suspects = orphans - lasting
            for upload_id in lasting:
                await self._blobs.discard(upload_id)
        return len(lasting)
