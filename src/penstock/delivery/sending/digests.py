"""The SHA-256 of uploads, computed once in a process: their bytes never change once all are there."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from .base import NotDelivered

if TYPE_CHECKING:
    from ...blobs.base import BlobStore
    from .base import Report

_KEPT: Final = 10_000


class Digests:
    """Remembers digests by upload."""

    def __init__(self, blobs: BlobStore) -> None:
        """`blobs` keeps the bytes."""
        self._blobs = blobs
        self._known: OrderedDict[tuple[str, int], str] = OrderedDict()

    async def of(self, upload_id: str, size_bytes: int, report: Report) -> str:
        """Return the digest of all bytes of an upload, in hex.

        Raises:
            NotDelivered: there are not as many as there should be.
            BlobMissing: there are none.
            BlobUnavailable: they cannot be read right now.
        """
        key = upload_id, size_bytes
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = await self._compute(upload_id, size_bytes, report)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known

    async def _compute(self, upload_id: str, size_bytes: int, report: Report) -> str:
        digest, done_bytes = hashlib.sha256(), 0
        async with aclosing(self._blobs.read(upload_id)) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(digest.update, piece)
                done_bytes += len(piece)
                report(None, f"hashed {done_bytes} of {size_bytes} bytes")
        if done_bytes != size_bytes:
            damaged = f"upload {upload_id} is damaged in the storage: {done_bytes} bytes, not {size_bytes}"
            raise NotDelivered(damaged, told=damaged)
        return digest.hexdigest()
