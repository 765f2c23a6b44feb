"""Puts the bytes of an upload together from those of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...blobs.base import BlobMissing, BlobUnavailable
from ..upload import Phase

if TYPE_CHECKING:
    from ...blobs.base import BlobStore
    from ..catalogue.catalogue import Catalogue
    from ..upload import Upload


class Assembly:
    """Does it, as often as wanted: what was left of an earlier attempt is replaced."""

    def __init__(self, catalogue: Catalogue, blobs: BlobStore) -> None:
        self._catalogue = catalogue
        self._blobs = blobs

    async def possible(self, final: Upload) -> bool:
        """Tell whether all parts are there, complete."""
        parts = await self._catalogue.get_many(set(final.parts))
        return all([part_id in parts and await self._is_usable(parts[part_id]) for part_id in set(final.parts)])

    async def make(self, final: Upload) -> None:
        """Put the parts together.

        Raises:
            BlobMissing: a part has gone.
            StorageFull: there is no room for all of them.
            BlobUnavailable: the storage failed, or does not hold what it should.
        """
        await self._blobs.create(final.id)  # the machine may have lost power since this was done first
        length = await self._blobs.concatenate(final.id, final.parts)
        if final.size_bytes not in (None, length):
            raise BlobUnavailable(
                f"the parts of upload {final.id} have {length} bytes, and not {final.size_bytes}. Send them again."
            )

    async def is_full(self, upload: Upload) -> bool:
        """Tell whether as many bytes are staged as the upload is to have."""
        try:
            return upload.size_bytes is not None and await self._blobs.length(upload.id) == upload.size_bytes
        except BlobMissing:
            return False

    async def _is_usable(self, part: Upload) -> bool:
        return part.is_part and part.phase is Phase.RECEIVING and await self.is_full(part)
