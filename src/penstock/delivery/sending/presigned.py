"""The way `presigned`: the step fetches the bytes from the object store, by an address that the store has signed.

A signed address cannot be taken back, and may be too old when a step gets round to it. So the start event has an
address of ours, which dies with the step (`pull`); whoever asks there is sent on to one that is signed just then, and
lives briefly. The object is a copy in the folder `delivery`: what is held back must not lie where released files do. It
is removed when its upload does not wait for a step any more.
"""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ...blobs.base import BlobMissing
from ...core.progress import State
from ...errors import Unavailable
from .base import NotDelivered
from .pull import PullWay

if TYPE_CHECKING:
    from ...blobs.base import BlobStore
    from ...blobs.links import Lending
    from ...clock import Clock
    from ...events.types import StartPostprocessingStep
    from ...store.base import ProgressStore
    from .base import Report
    from .digests import Digests
    from .tokens import Tokens

log = structlog.get_logger(__name__)

_LOOK: Final = timedelta(minutes=1)
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

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        """Make sure that there is a copy, as it should be; return our own address."""
        upload_id, size = start.upload_id, start.filesize
        if await self._size(upload_id) != size:
            sha256 = await self._digests.of(start, report)
            report(None, "copies the file to where it is fetched from")
            pieces = self._blobs.read(upload_id, stop=size)
            await self._lending.put(upload_id, pieces, size_bytes=size, sha256=sha256)
            if await self._sha256(upload_id) != sha256:
                await self._lending.remove(upload_id)
                raise NotDelivered(f"{self._lending.name} gives other bytes back than it was sent")
        return await super().address(start, start_id, report)

    async def link(self, upload_id: str) -> str:
        """Return a signed address, made just now.

        Raises:
            BlobUnavailable: there is none.
        """
        return await self._lending.link(upload_id, life=self._life)

    async def _size(self, upload_id: str) -> int:
        try:
            return await self._lending.size(upload_id)
        except BlobMissing:
            return -1

    async def _sha256(self, upload_id: str) -> str:
        digest = hashlib.sha256()
        async with aclosing(self._lending.read(upload_id)) as pieces:
            async for piece in pieces:
                digest.update(piece)
        return digest.hexdigest()


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
            await self._clock.sleep(_LOOK)

    async def collect(self) -> int:
        """Remove what is there for nobody; return how many copies that were.

        Raises:
            BlobUnavailable, StoreUnavailable: not all were looked at.
        """
        lent, removed = await self._lending.kept(), 0
        saved = await self._store.get_many(lent) if lent else {}
        for upload_id in lent:
            if upload_id not in saved or saved[upload_id].progress.state not in _WAITING:
                await self._lending.remove(upload_id)
                removed += 1
        if removed:
            log.info("lent_copies_removed", copies=removed)
        return removed
