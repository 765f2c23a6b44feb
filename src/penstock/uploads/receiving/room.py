"""Makes sure that every upload that was let in finds the room that it needs: what is promised is not promised twice.

Looking at the disk for each upload would cost more than a small upload itself, so what was found is used for a
second; whatever arrives in between is subtracted. Only before somebody is refused, everything is looked at again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ...blobs.base import BlobMissing, StorageFull
from ..limits import Promises, check_room
from ..upload import Phase

if TYPE_CHECKING:
    from ...blobs.base import BlobStore
    from ...clock import Clock
    from ..catalogue.catalogue import Catalogue

STEP_BYTES: Final = 8 * 1024 * 1024
"""How much room is set aside at a time for an upload whose size nobody knows."""
_FRESH_SECONDS: Final = 1.0
_UNTOLD_BYTES: Final = 2**60
"""The room in a storage that does not tell, such as a bucket: an exbibyte. What uploads say that they will have can be
added up then, by every database, whatever anybody says."""


class Room:
    """Promises room, and keeps the promises."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        catalogue: Catalogue,
        clock: Clock,
        spare_bytes: int,
        shared: bool,
    ) -> None:
        """With `shared`, other instances promise the same room: what they did is looked at when the disk is."""
        self._shared = shared
        self._blobs = blobs
        self._catalogue = catalogue
        self._clock = clock
        self._spare_bytes = spare_bytes
        self._promises: Promises | None = None
        self._free_bytes: int | None = None
        self._measured_at = float("-inf")
        self._recounted_at = float("-inf")
        self._looking = asyncio.Lock()

    async def begin(self, upload_id: str, size_bytes: int | None) -> None:
        """Set room aside for an upload that is about to be created; a first step of it when nobody knows its size.

        Raises:
            StorageFull: there is not so much; nothing was set aside.
        """
        needed = STEP_BYTES if size_bytes is None else size_bytes
        promises = await self._ensure(upload_id, needed)
        promises.begin(upload_id, needed)

    def growth(self, upload_id: str, length_bytes: int) -> Growth:
        """Return what sets room aside for an upload whose size is not known, as it grows from this length on."""
        promised = 0 if self._promises is None else self._promises.of(upload_id)
        return Growth(self, upload_id, length_bytes + promised)

    async def extend(self, upload_id: str, missing_bytes: int) -> None:
        """Set more room aside for an upload whose size is not known.

        Raises:
            StorageFull: there is not so much; what was set aside before stays so.
        """
        promises = await self._ensure(upload_id, missing_bytes)
        promises.change(upload_id, missing_bytes)

    def entered(self, upload_id: str) -> None:
        """Note that the upload is in the catalogue now."""
        if self._promises is not None:
            self._promises.entered(upload_id)

    def arrived(self, upload_id: str, missing_bytes: int) -> None:
        """Note that an upload has grown, and lacks only this much."""
        if self._promises is not None and self._free_bytes is not None:
            self._free_bytes -= max(0, self._promises.change(upload_id, missing_bytes))

    def end(self, upload_id: str, *, arrived: bool) -> None:
        """Note that an upload needs no more room, because all of it has `arrived` or nothing will."""
        if self._promises is None:
            return
        missing = self._promises.end(upload_id)
        if arrived and self._free_bytes is not None:
            self._free_bytes -= missing

    async def _ensure(self, upload_id: str, missing_bytes: int) -> Promises:
        promises = await self._measure()
        try:
            self._check(promises, upload_id, missing_bytes)
        except StorageFull:
            await self._recount(promises)
            self._check(promises, upload_id, missing_bytes)
        return promises

    def _check(self, promises: Promises, upload_id: str, missing_bytes: int) -> None:
        free_bytes = _UNTOLD_BYTES if self._free_bytes is None else self._free_bytes
        spare_bytes = 0 if self._free_bytes is None else self._spare_bytes
        others = promises.total_bytes - promises.of(upload_id)
        check_room(missing_bytes, free_bytes=free_bytes, promised_bytes=others, spare_bytes=spare_bytes)

    async def _measure(self) -> Promises:
        async with self._looking:
            fresh = self._clock.monotonic() - self._measured_at < _FRESH_SECONDS
            if self._promises is None or (self._shared and not fresh):
                self._promises = Promises(await self._catalogue.declared_bytes())
            if not fresh:
                self._free_bytes = await self._blobs.free_bytes()
                self._measured_at = self._clock.monotonic()
            return self._promises

    async def _recount(self, promises: Promises) -> None:
        """Look at every upload on its way in, unless somebody just did."""
        async with self._looking:
            if self._clock.monotonic() - self._recounted_at < _FRESH_SECONDS:
                return
            settled, missing = promises.settled(), dict[str, int]()
            cursor: str | None = None
            while True:
                page = await self._catalogue.list(phases=[Phase.RECEIVING], limit=1000, cursor=cursor)
                for upload in page.uploads:
                    missing[upload.id] = max(0, (upload.size_bytes or 0) - await self._length(upload.id))
                cursor = page.next
                if cursor is None:
                    break
            promises.replace(missing, settled)
            self._free_bytes = await self._blobs.free_bytes()
            self._measured_at = self._recounted_at = self._clock.monotonic()

    async def _length(self, upload_id: str) -> int:
        try:
            return await self._blobs.length(upload_id)
        except BlobMissing:
            return 0


class Growth:
    """Keeps the room for an upload of unknown size one step ahead of its bytes."""

    def __init__(self, room: Room, upload_id: str, secured_bytes: int) -> None:
        self._room = room
        self._upload_id = upload_id
        self._secured_bytes = secured_bytes

    async def to(self, end: int) -> None:
        """Make sure that there is room up to byte `end`.

        Raises:
            StorageFull: there is not.
        """
        while end > self._secured_bytes:
            self._room.arrived(self._upload_id, 0)
            await self._room.extend(self._upload_id, STEP_BYTES)
            self._secured_bytes += STEP_BYTES

    def stands_at(self, length_bytes: int) -> None:
        """Note how much of what was set aside has been used."""
        self._room.arrived(self._upload_id, max(0, self._secured_bytes - length_bytes))
