"""The way `presigned`: the step fetches the bytes from the object store, by an address that the store has signed.

A signed address cannot be taken back, and may be too old when a step gets round to it. So the start event has an
address of ours, which dies with the step (`pull`); whoever asks there is sent on to one that is signed just then, and
lives briefly. The object is a copy in the folder `delivery`: what is held back must not lie where released files do. It
is removed when its upload does not wait for a step any more.

A copy is read and hashed before it is lent, and again whenever it may be another one than was verified: when the store
has another ETag or version for it, and after a restart.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import structlog

from ...blobs.base import BlobMissing, BlobUnavailable
from ...core.progress import State
from ...errors import Unavailable
from .base import NotDelivered
from .pull import PullWay

if TYPE_CHECKING:
    from ...blobs.base import BlobStore
    from ...blobs.links import Copy, Lending
    from ...clock import Clock
    from ...events.types import StartPostprocessingStep
    from ...store.base import ProgressStore
    from .base import Report
    from .digests import Digests
    from .tokens import Tokens

log = structlog.get_logger(__name__)

_LOOK: Final = timedelta(minutes=1)
_KEPT: Final = 10_000
_OTHER_BYTES: Final = "the file could not reach the worker: the object store gives other bytes back than it was sent"
_WAITING: Final = frozenset({State.STEP, State.BACKOFF, State.DELAY})


class PresignedWay(PullWay):
    """Lends copies out."""

    name = "presigned"
    at_once = False

    def __init__(
        self, url: str, tokens: Tokens, *, lending: Lending, blobs: BlobStore, digests: Digests, life: timedelta
    ) -> None:
        """Build it.

        Args:
            url: where steps reach this server.
            tokens: makes the secrets in our own addresses.
            lending: where copies are.
            blobs: has the bytes.
            digests: knows their SHA-256.
            life: how long a signed address works.
        """
        super().__init__(url, tokens)
        self._lending = lending
        self._blobs = blobs
        self._digests = digests
        self._life = life
        self._verified: OrderedDict[str, Copy] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        """Make sure that there is a copy, as it should be; return our own address."""
        await self._have(start.upload_id, start.filesize, report)
        return await super().address(start, start_id, report)

    async def link(self, upload_id: str, size_bytes: int) -> str:
        """Return a signed address, made just now, of a copy that is as it should be.

        Raises:
            BlobUnavailable: there is none.
        """
        try:
            await self._have(upload_id, size_bytes, _nobody)
        except NotDelivered as error:
            raise BlobUnavailable(str(error)) from error
        return await self._lending.link(upload_id, life=self._life)

    async def _have(self, upload_id: str, size_bytes: int, report: Report) -> None:
        """Make sure that there is a copy with the right bytes.

        One that was verified before is taken as it is for as long as the store says that it is the same; another one,
        also one of before a restart, is read. What is wrong is put there anew.

        Raises:
            NotDelivered: the store does not give back what it was sent.
        """
        async with self._locks.setdefault(upload_id, asyncio.Lock()):
            found = await self._found(upload_id)
            if found is not None and found.tag and self._verified.get(upload_id) == found:
                return
            sha256 = await self._digests.of(upload_id, size_bytes, report)
            good = await self._verify(upload_id, found, size_bytes, sha256, report)
            if good is None:
                report(None, "copies the file to where it is fetched from")
                pieces = self._blobs.read(upload_id, stop=size_bytes)
                await self._lending.put(upload_id, pieces, size_bytes=size_bytes, sha256=sha256)
                there = await self._found(upload_id)
                good = await self._verify(upload_id, there, size_bytes, sha256, report)
            if good is None:
                await self._lending.remove(upload_id)
                raise NotDelivered(f"{self._lending.name} gives other bytes back than it was sent", told=_OTHER_BYTES)
            self._verified[upload_id] = good
            if len(self._verified) > _KEPT:
                self._verified.popitem(last=False)

    async def _verify(
        self, upload_id: str, found: Copy | None, size_bytes: int, sha256: str, report: Report
    ) -> Copy | None:
        """Read a copy; return what was read if it is the right one, and nobody has changed it meanwhile."""
        if found is None or found.size_bytes != size_bytes:
            return None
        report(None, "makes sure that the copy is the same")
        digest = hashlib.sha256()
        async with aclosing(self._lending.read(upload_id)) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(digest.update, piece)
        same = digest.hexdigest() == sha256 and await self._found(upload_id) == found
        return found if same else None

    async def _found(self, upload_id: str) -> Copy | None:
        try:
            return await self._lending.copy(upload_id)
        except BlobMissing:
            return None


def _nobody(fraction: float | None, message: str) -> None:
    """Take a report where nobody listens."""


class Returns:
    """Removes copies that no step waits for."""

    def __init__(self, lending: Lending, store: ProgressStore, clock: Clock) -> None:
        self._lending = lending
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Look at once and then now and then, until cancelled."""
        while True:
            try:
                await self.collect()
            except Unavailable as error:
                log.warning("lent_copies_wait", error=str(error))
            except Exception:  # a copy that stays is not worth the end of the server
                log.exception("lent_copies_not_removed")
            await self._clock.sleep(_LOOK)

    async def collect(self) -> int:
        """Remove what is there for nobody; return how many copies that were. One that stays holds up no other.

        Raises:
            BlobUnavailable, StoreUnavailable: not all were looked at, or removed.
        """
        lent, removed = await self._lending.kept(), 0
        failure: Unavailable | None = None
        saved = await self._store.get_many(lent) if lent else {}
        for upload_id in lent:
            if upload_id not in saved or saved[upload_id].progress.state not in _WAITING:
                try:
                    await self._lending.remove(upload_id)
                    removed += 1
                except Unavailable as error:
                    log.warning("lent_copy_left_for_later", upload=upload_id, error=str(error))
                    failure = failure or error
        if removed:
            log.info("lent_copies_removed", copies=removed)
        if failure is not None:
            raise failure
        return removed
