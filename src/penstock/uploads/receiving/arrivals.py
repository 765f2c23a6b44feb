"""Where uploads stand that are on their way in, and what is done with those of which all has arrived.

All bytes are on disk before the gateway is told that they are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...blobs.base import BlobMissing
from ...ids import is_upload_id
from ..standing import Standing, check_accepted, check_alive, unknown

if TYPE_CHECKING:
    from ...blobs.base import BlobStore
    from ..catalogue.catalogue import Catalogue
    from ..gateway.gateway import Gateway
    from ..steady import SteadyTime
    from ..upload import Upload
    from .finals import Finals
    from .room import Room


class Arrivals:
    """Knows what has arrived, and hands on what is complete. Who changes anything holds the lock of the upload.

    Args:
        catalogue: knows all uploads.
        gateway: is told when an upload is complete.
        blobs: keeps the bytes.
        time: tells whose time is over.
        room: is told who needs no more of it.
        finals: are made of those that are parts.
    """

    def __init__(
        self, *, catalogue: Catalogue, gateway: Gateway, blobs: BlobStore, time: SteadyTime, room: Room, finals: Finals
    ) -> None:
        self._catalogue = catalogue
        self._gateway = gateway
        self._blobs = blobs
        self._time = time
        self._room = room
        self._finals = finals

    async def known(self, upload_id: str) -> Upload:
        """Return an upload, whatever has become of it.

        Raises:
            NotFound: there is none of this ID.
        """
        check_id(upload_id)
        upload = await self._catalogue.get(upload_id)
        if upload is None:
            raise unknown(upload_id)
        return upload

    async def find(self, upload_id: str) -> Upload:
        """Return an upload that can be received, or has been.

        Raises:
            NotFound: there is none of this ID.
            Gone: it was cancelled, removed or rejected, or has expired.
        """
        upload = await self.known(upload_id)
        check_alive(upload, self._time.now())
        return upload

    async def look(self, upload_id: str) -> Standing:
        """Ask catalogue and storage where an upload stands."""
        standing = Standing.of(await self.find(upload_id), 0)
        if standing.complete or standing.upload.parts:
            return standing
        try:
            return Standing.of(standing.upload, await self._blobs.length(upload_id))
        except BlobMissing:
            # The machine lost power after the upload was noted, and before its empty file was on disk.
            await self._blobs.create(upload_id)
            return standing

    async def healed(self, standing: Standing) -> Standing:
        """Hand on an upload whose bytes are all there, in case that we died, or failed, before we could."""
        upload = standing.upload
        if standing.complete or not standing.full or upload.is_part or upload.explicit_end:
            return standing
        return await self.finish(standing.upload, await self._blobs.seal(standing.upload.id))

    async def finish(self, upload: Upload, size_bytes: int, *, received: Upload | None = None) -> Standing:
        """Hand on an upload that has just become complete, and is on disk; return where it stands then.

        `received`: the gateway was told already, and this is what it has made of the upload.

        Raises:
            ChecksumMismatch: it is not what its metadata says.
            Gone: it was given up meanwhile.
        """
        if upload.is_part:
            self._room.end(upload.id, arrived=True)
            await self._finals.part_complete(upload)
            return Standing(upload, size_bytes)
        if received is None:
            received = await self._gateway.received(upload, size_bytes=size_bytes)
        self._room.end(upload.id, arrived=True)
        check_accepted(received)
        return Standing(received, size_bytes)


def check_id(upload_id: str) -> None:
    """Make sure that an ID may be one of ours.

    Raises:
        NotFound: there can be no upload of this ID.
    """
    if not is_upload_id(upload_id):
        raise unknown(upload_id)
