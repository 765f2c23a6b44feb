"""One garbage collection, from its beginning to its report. Everything that is to go is looked at once more before."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
import structlog

from ...blobs.base import BlobMissing, BlobStore
from ...blobs.inventory import Stage, SupportsInventory
from ...errors import PenstockError
from ...ids import derived_id
from ...store.base import ProgressStore
from ..catalogue.catalogue import Catalogue
from ..gateway.gateway import Gateway
from ..steady import SteadyTime
from ..upload import Phase, Upload
from .collection import Find, Kind, Report, Tally, Verdict, judge, kind_of
from .expiry import Expires
from .orphans import Orphans

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from datetime import datetime

    from ...blobs.inventory import Found

log = structlog.get_logger(__name__)

_PAGE: Final = 500
_WITHOUT_RECORD: Final = "it has no record in postprocessing: all steps run again"


class Looked(msgspec.Struct, frozen=True):
    """How far a collection has come."""

    looked_at: int
    stage: str
    """What is being looked at."""


News: TypeAlias = Find | Looked | Report
"""What a collection says while it goes on; the report comes last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What collections work with."""

    catalogue: Catalogue
    blobs: BlobStore
    """Says what lies in it, if it can (`SupportsInventory`)."""
    gateway: Gateway
    """Begins the processing of what was forgotten."""
    receiver: Expires
    """Gives unfinished uploads up."""
    noticed: Orphans
    """Remembers bytes without an entry."""
    time: SteadyTime
    """What ages are counted to."""
    retention: timedelta
    """How long entries of uploads that are gone stay in the list."""
    records: ProgressStore | None = None
    """The coordinator's; None: they cannot be seen from here."""
    serving: bool = True
    """Whether what is begun will go on. Where no server runs, that is left to its start."""


class Collecting:
    """One collection."""

    def __init__(self, means: Means, *, dry_run: bool, older_than: timedelta, strays: bool) -> None:
        self._means = means
        self._catalogue = means.catalogue
        self._blobs = means.blobs
        self._dry_run = dry_run
        self._older_than = older_than
        self._strays = strays
        self._tally = Tally(dry_run=dry_run)
        if doubted := means.time.doubted:
            self._tally.remarks.append(
                f"The clock is {_rounded(doubted)} ahead of the time that ages are counted to: no server has run for "
                f"as long, or it is wrong. It is believed once one has run for {means.time.believed_after}."
            )
        self._now = means.time.now()
        self._noticed_at = means.time.noticed()
        self._seen: dict[str, datetime] = {}
        self._unknown: set[str] = set()

    async def news(self) -> AsyncGenerator[News, None]:
        """Look at one kind of thing after the other."""
        for stage, finds in (
            ("unfinished uploads", self._expired()),
            ("uploads that wait", self._unprocessed()),
            ("old entries", self._forgotten()),
            ("storage", self._stored()),
        ):
            yield Looked(self._tally.looked_at, stage)
            try:
                async for find in finds:
                    if find is None:
                        yield Looked(self._tally.looked_at, stage)
                        continue
                    self._tally.add(find)
                    yield find
            except PenstockError as error:  # the next kind may be elsewhere
                log.warning("garbage_not_looked_at", stage=stage, error=str(error))
                self._tally.notes.append(f"Not all {stage} were looked at: {error}")
        yield self._tally.report()

    # --- what the catalogue knows -------------------------------------------------------------------------------------

    async def _expired(self) -> AsyncIterator[Find | None]:
        async for batch in self._catalogue.overdue(self._now):
            for upload in batch:
                self._tally.looked_at += 1
                size_bytes = await self._length(upload.id)
                find = _find(Kind.EXPIRED, upload, size_bytes, upload.expires_at)
                try:
                    if await self._means.receiver.expire(upload, dry_run=True):
                        if not self._dry_run:
                            done = await self._means.receiver.expire(upload)
                            find = msgspec.structs.replace(find, done=done)
                        yield find
                except PenstockError as error:
                    yield self._failed(find, error)
            yield None

    async def _unprocessed(self) -> AsyncIterator[Find | None]:
        """What is complete and old, but was never begun; what is in processing, though no record says so."""
        for phase in (Phase.RECEIVING, Phase.PROCESSING):
            cursor = None
            while True:
                page = await self._catalogue.list(phases=[phase], limit=_PAGE, cursor=cursor)
                old = [upload for upload in page.uploads if self._waits(upload)]
                self._tally.looked_at += len(page.uploads)
                for upload, detail in await self._stuck(phase, old):
                    yield await self._begin(upload, detail)
                yield None
                cursor = page.next
                if cursor is None:
                    break

    def _waits(self, upload: Upload) -> bool:
        since = upload.received_at or upload.created_at
        return not upload.is_part and self._now - since >= self._older_than

    async def _stuck(self, phase: Phase, old: Sequence[Upload]) -> list[tuple[Upload, str]]:
        if phase is Phase.RECEIVING:
            return [(upload, "it is complete: its processing begins") for upload in old if await self._is_full(upload)]
        if self._means.records is None or not old:
            return []
        recorded = await self._means.records.get_many([upload.id for upload in old])
        return [(upload, _WITHOUT_RECORD) for upload in old if upload.id not in recorded]

    async def _begin(self, upload: Upload, detail: str) -> Find:
        find = _find(Kind.UNPROCESSED, upload, upload.size_bytes or 0, upload.received_at or upload.created_at, detail)
        if not self._means.serving:
            return msgspec.structs.replace(find, kept=True, detail="its processing begins when the server starts")
        if self._dry_run:
            return find
        try:
            if upload.phase is Phase.RECEIVING:
                await self._means.gateway.complete(upload.id)
            else:
                # Once, though collections of several instances find it at the same time.
                cause = derived_id(upload.id, f"{upload.run}", "without record")
                await self._means.gateway.restart(upload.id, cause=cause)
        except PenstockError as error:
            return self._failed(find, error)
        return msgspec.structs.replace(find, done=True)

    async def _forgotten(self) -> AsyncIterator[Find | None]:
        async for batch in self._catalogue.gone_before(self._now - self._means.retention):
            self._tally.looked_at += len(batch)
            done = not self._dry_run and await self._catalogue.forget([upload.id for upload in batch]) == len(batch)
            for upload in batch:
                yield msgspec.structs.replace(_find(Kind.FORGOTTEN, upload, 0, upload.ended_at), done=done)
            yield None

    # --- what lies in the storages ------------------------------------------------------------------------------------

    async def _stored(self) -> AsyncIterator[Find | None]:
        blobs, noticed = self._blobs, self._means.noticed
        if not isinstance(blobs, SupportsInventory):
            self._tally.notes.append("The storage does not say what lies in it: only entries were looked at.")
            return
        self._seen = await noticed.seen()
        # A clock that was ahead has noticed things in the future.
        self._seen = {key: at for key, at in self._seen.items() if at <= self._now}
        complete = False
        try:
            async with aclosing(blobs.inventory()) as batches:
                async for batch in batches:
                    for begin in range(0, len(batch), _PAGE):
                        async for find in self._look_through(blobs, batch[begin : begin + _PAGE]):
                            yield find
                    yield None
            complete = True
        except PenstockError as error:
            self._tally.notes.append(f"Not all was looked at: {error}")
        if not self._dry_run:
            if complete:
                await noticed.forget(self._seen.keys() - self._unknown)
            new = self._unknown - self._seen.keys()
            await noticed.forget(new)
            await noticed.remember(new, self._noticed_at)

    async def _look_through(self, blobs: SupportsInventory, batch: Sequence[Found]) -> AsyncIterator[Find | None]:
        # Asked after the list was made: an upload's bytes come before its entry.
        known = await self._catalogue.get_many({found.upload_id for found in batch if found.upload_id})
        self._tally.looked_at += len(batch)
        for found in batch:
            upload = known.get(found.upload_id)
            if upload is None and found.stage is not Stage.PROBE:
                self._unknown.add(_key(found))
            find = await self._deal_with(blobs, found, upload)
            if find is not None:
                yield find

    async def _deal_with(self, blobs: SupportsInventory, found: Found, upload: Upload | None) -> Find | None:
        verdict = self._verdict(found, upload)
        if verdict is Verdict.ALIVE:
            return None
        find = Find(
            kind=kind_of(found, upload),
            id=found.upload_id,
            filename="" if upload is None else upload.filename,
            place=found.place,
            size_bytes=found.size_bytes,
            since=found.changed_at,
        )
        if verdict is Verdict.YOUNG:
            return msgspec.structs.replace(find, kept=True, detail="not noticed for long enough")
        if find.kind is Kind.STRAY and not self._strays:
            return msgspec.structs.replace(find, kept=True, detail="only `penstock uploads gc` removes it")
        try:
            if verdict is Verdict.PUT_RIGHT and await self._catalogue.is_withdrawn(found.upload_id):
                return msgspec.structs.replace(find, kept=True, detail="its copy may be removed yet")
            if self._dry_run:
                if verdict is Verdict.PUT_RIGHT:
                    await self._put_right(upload)
                return find
            return msgspec.structs.replace(find, done=await self._remove(blobs, found, verdict))
        except PenstockError as error:
            return self._failed(find, error)

    async def _remove(self, blobs: SupportsInventory, found: Found, verdict: Verdict) -> bool:
        """Do what is to be done, unless the upload or what was found has changed since."""
        upload = await self._catalogue.get(found.upload_id) if found.upload_id else None
        if self._verdict(found, upload) is not verdict:
            return False
        if verdict is Verdict.PUT_RIGHT:
            await self._put_right(upload)
            return True
        if verdict is Verdict.WITHDRAW:
            return await self._means.gateway.withdraw(found.upload_id)
        removed = await blobs.remove_found(found)
        if removed:
            log.info("garbage_removed", upload=found.upload_id, stage=found.stage, size_bytes=found.size_bytes)
            self._unknown.discard(_key(found))
        return removed

    async def _put_right(self, upload: Upload | None) -> None:
        """Have a released upload be in its final place only, or (in a dry run) see whether that can be done."""
        if upload is not None and upload.size_bytes is not None:
            await self._blobs.put_right(upload.id, upload.size_bytes, dry_run=self._dry_run)

    def _verdict(self, found: Found, upload: Upload | None) -> Verdict:
        return judge(found, upload, noticed_at=self._seen.get(_key(found)), now=self._now, older_than=self._older_than)

    async def _length(self, upload_id: str) -> int:
        try:
            return await self._blobs.length(upload_id)
        except PenstockError:
            return 0

    async def _is_full(self, upload: Upload) -> bool:
        if upload.explicit_end or upload.size_bytes is None or upload.parts:
            return False
        try:
            return await self._blobs.length(upload.id) == upload.size_bytes
        except BlobMissing:
            return False

    def _failed(self, find: Find, error: PenstockError) -> Find:
        log.warning("garbage_left_for_later", upload=find.id, kind=find.kind, error=str(error))
        return msgspec.structs.replace(find, kept=True, failed=True, detail=str(error))


def _rounded(duration: timedelta) -> timedelta:
    return timedelta(seconds=round(duration.total_seconds()))


def _key(found: Found) -> str:
    """Return what bytes without an entry are remembered by: what is staged and released are two things."""
    return f"{found.stage}:{found.upload_id}"


def _find(kind: Kind, upload: Upload, size_bytes: int, since: datetime | None, detail: str = "") -> Find:
    return Find(kind=kind, id=upload.id, filename=upload.filename, size_bytes=size_bytes, since=since, detail=detail)
