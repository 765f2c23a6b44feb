"""Tidies up by itself: uploads never completed, entries that nobody asks for any more, bytes without a name.

It removes bytes only of uploads that the catalogue has given up, or that no entry has named for long.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog

from ...blobs.base import BlobMissing, BlobUnavailable
from ...errors import PenstockError
from ...rests import Rests
from ..steady import SteadyTime
from ..upload import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from ...blobs.base import BlobStore
    from ...clock import Clock
    from ..catalogue.catalogue import Catalogue
    from ..catalogue.feed import Feed
    from ..gateway.gateway import Gateway
    from ..remembered import RememberedTime
    from ..upload import Upload
    from .orphans import Orphans

log = structlog.get_logger(__name__)

_INTERVAL: Final = timedelta(minutes=1)
_PAGE: Final = 500
"""Entries of staged bytes that are in memory at a time."""


class Report(msgspec.Struct, frozen=True):
    """What was tidied up, or would be."""

    expired: int = 0
    """Unfinished uploads whose time was over."""
    forgotten: int = 0
    """Entries of uploads without bytes, older than the retention."""
    orphans: int = 0
    """Staged bytes that belonged to no upload."""
    misplaced: int = 0
    """Staged bytes of uploads that were released, or given up."""
    feed_entries: int = 0
    """Entries of the feed that were too old, or too many."""
    left: int = 0
    """What could not be done now, and is left for the next time."""


class Expires(Protocol):
    """Gives uploads up whose time is over: the receiver, which then has their room for others."""

    async def expire(self, upload: Upload, *, dry_run: bool = False) -> bool:
        """Give one up, as `Gateway.expire` does."""
        ...


class Sweeper:
    """Sweeps every minute.

    Args:
        catalogue: knows all uploads.
        blobs: keeps their bytes.
        gateway: does what it could not do when it was to.
        receiver: gives unfinished uploads up.
        feed: is trimmed.
        orphans: remembers staged bytes without an entry.
        clock: tells what is overdue.
        retention: how long entries of uploads that are gone stay in the list.
        orphans_after: how long staged bytes without an entry are kept, from when they were first noticed.
        time: what ages are counted to; None: the clock's time, whose jumps ahead are believed after `orphans_after`.
        remembered: has that time outlive this process; None: it does not.
        room: makes sure that there is some to work in, also when the disk is full.
        empty_after: the same for empty ones, of which nobody was told: longer than a creation takes that is under way.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        gateway: Gateway,
        receiver: Expires,
        feed: Feed,
        orphans: Orphans,
        clock: Clock,
        retention: timedelta,
        orphans_after: timedelta,
        time: SteadyTime | None = None,
        remembered: RememberedTime | None = None,
        room: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        empty_after: timedelta = timedelta(0),
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._gateway = gateway
        self._receiver = receiver
        self._feed = feed
        self._orphans = orphans
        self._clock = clock
        self._retention = retention
        self._orphans_after = orphans_after
        self._time = SteadyTime(clock, believed_after=orphans_after) if time is None else time
        self._remembered = remembered
        self._room = room
        self._empty_after = empty_after
        self._left = 0

    async def run(self) -> None:
        """Sweep until cancelled, whatever goes wrong; have the gateway do what it could not do when it was to."""
        await self._try(self._gateway.catch_up)  # what the start has left
        while True:
            await self._clock.sleep(_INTERVAL)
            await self._try(self._catch_up_and_sweep)

    async def _catch_up_and_sweep(self) -> None:
        async with self._room():
            await self._gateway.catch_up()
            report = await self.sweep()
        if report != Report():
            log.info("swept", **msgspec.structs.asdict(report))

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except PenstockError as error:
            log.warning("sweep_failed", error=str(error))
        except Exception:
            log.exception("sweep_failed")  # nothing that is tidied up is worth the end of the server

    async def sweep(self, *, dry_run: bool = False) -> Report:
        """Tidy up once, or (`dry_run`) only count; return what was done, or would be.

        Raises:
            DatabaseUnavailable, BlobUnavailable: not all was tidied up.
        """
        self._left = 0
        if self._remembered is not None and not dry_run:
            await self._remember(self._remembered)
        expired = await self._expire(dry_run=dry_run)
        forgotten = await self._forget(dry_run=dry_run)
        orphans, misplaced = await self._look_through_staging(dry_run=dry_run)
        feed_entries = 0 if dry_run else await self._feed.trim(self._time.now())
        return Report(expired, forgotten, orphans, misplaced, feed_entries, self._left)

    async def _remember(self, remembered: RememberedTime) -> None:
        try:
            await remembered.keep()
        except PenstockError as error:  # where the disk is full, what comes next may be what makes room
            log.warning("time_not_remembered", error=str(error))

    async def _expire(self, *, dry_run: bool) -> int:
        expired = 0
        async for batch in self._catalogue.overdue(self._time.now()):
            for upload in batch:
                try:
                    expired += await self._receiver.expire(upload, dry_run=dry_run)
                except PenstockError as error:
                    self._leave(upload.id, error)
        return expired

    async def _forget(self, *, dry_run: bool) -> int:
        forgotten = 0
        async for batch in self._catalogue.gone_before(self._time.now() - self._retention):
            ids = [upload.id for upload in batch]
            forgotten += len(ids) if dry_run else await self._catalogue.forget(ids)
        return forgotten

    async def _look_through_staging(self, *, dry_run: bool) -> tuple[int, int]:
        """Return how many staged blobs were orphans, and how many should have been elsewhere."""
        remembered, now = await self._orphans.seen(), self._time.noticed()
        # A clock that was ahead, and believed, has noticed things in the future: that is when they would grow old.
        seen = {upload_id: at for upload_id, at in remembered.items() if at <= now}
        staged = await self._blobs.staged()
        unknown = set[str]()
        misplaced = list[str]()
        rests = Rests(self._clock)
        # Asked after `staged`: an entry that comes a moment after its bytes is there by the next sweep, at the latest.
        for start in range(0, len(staged), _PAGE):
            page = staged[start : start + _PAGE]
            known = await self._catalogue.phases(page)
            unknown.update(upload_id for upload_id in page if upload_id not in known)
            misplaced += [one for one, phase in known.items() if phase is Phase.RELEASED or not phase.holds_bytes]
            await rests.after(len(page))
        removed = {upload_id for upload_id in unknown & seen.keys() if await self._is_nobodys(upload_id, seen)}
        misplaced = [upload_id for upload_id in misplaced if await self._put_right(upload_id, dry_run=dry_run)]
        if not dry_run:
            removed = {upload_id for upload_id in removed if await self._remove_orphan(upload_id)}
            await self._orphans.forget((remembered.keys() - (unknown & seen.keys())) | removed)
            await self._orphans.remember(unknown - seen.keys(), self._time.noticed())
        return len(removed), len(misplaced)

    async def _is_nobodys(self, upload_id: str, seen: dict[str, datetime]) -> bool:
        """Tell whether staged bytes that had no entry at the last sweep either may be removed."""
        try:
            empty = await self._blobs.length(upload_id) == 0
        except BlobMissing:
            return True  # nothing that counts: what a writer has left that came too late, or nothing at all by now
        except BlobUnavailable:
            empty = False  # what is damaged holds up nothing else
        is_over = self._time.now() - seen[upload_id] >= (self._empty_after if empty else self._orphans_after)
        return is_over and await self._catalogue.get(upload_id) is None  # another instance may have entered it by now

    async def _remove_orphan(self, upload_id: str) -> bool:
        """Remove staged bytes without an entry; what was released stays, also where an older database was put back."""
        try:
            await self._blobs.discard(upload_id, only_staged=True)
        except PenstockError as error:
            self._leave(upload_id, error)
            return False
        log.info("staged_bytes_without_entry_removed", upload=upload_id)
        return True

    async def _put_right(self, upload_id: str, *, dry_run: bool) -> bool:
        """Put an upload right whose bytes are not to be staged; return whether that was done, or would be.

        A power failure may undo what the disk had not made durable; a death may come between a release and the removal
        of what was staged; a request that was at work while its upload was given up may have made the file anew.
        """
        try:
            present = await self._catalogue.get(upload_id)  # the others before it may have taken their time
            if present is not None and present.phase is Phase.RELEASED and present.size_bytes is not None:
                if await self._catalogue.is_withdrawn(present.id):
                    return False
                await self._blobs.put_right(present.id, present.size_bytes, dry_run=dry_run)
            elif present is None or present.phase.holds_bytes:
                return False
            elif not dry_run:
                await self._blobs.discard(present.id)
        except PenstockError as error:
            self._leave(upload_id, error)
            return False
        if not dry_run:
            log.info("staged_bytes_put_right", upload=upload_id, phase=present.phase)
        return True

    def _leave(self, upload_id: str, error: PenstockError) -> None:
        self._left += 1
        log.warning("upload_left_for_later", upload=upload_id, error=str(error))
