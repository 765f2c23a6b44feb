"""Fences uploads off from those who had them in hand before, and were away for longer than their lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...blobs.base import BlobMissing
from ..upload import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...blobs.sharing import SupportsFences
    from ..catalogue.catalogue import Catalogue
    from .leases import Lease


class BlobFences:
    """Does it in the storage.

    Args:
        catalogue: knows which uploads are still coming in.
        blobs: keeps their bytes.
        machine: where this is: what others on it have written, is seen here at once.
    """

    def __init__(self, catalogue: Catalogue, blobs: SupportsFences, machine: str) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._machine = machine

    async def fence(self, lease: Lease, confirm: Callable[[], Awaitable[None]]) -> None:
        """Fence an upload whose earlier holder may write yet; `confirm` makes sure that the lease is ours."""
        upload = await self._catalogue.get(lease.upload_id)
        if upload is None or upload.phase is not Phase.RECEIVING:
            return
        kept_bytes = None if lease.writer == self._machine else lease.kept_bytes
        try:
            await self._blobs.fence(upload.id, kept_bytes, upload.size_bytes, confirm)
        except BlobMissing:
            return  # there is nothing to write to, so nobody has it open

    async def flushed(self, upload_id: str) -> int | None:
        """Force to disk what is there of an upload, and return how much that is; None: nobody can tell."""
        try:
            return await self._blobs.flushed(upload_id)
        except BlobMissing:
            return None
