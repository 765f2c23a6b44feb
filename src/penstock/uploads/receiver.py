"""Takes uploads in: creates them, writes their bytes as they arrive, and hands them on when all are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blobs.base import BlobMissing, StorageFull
from ..errors import NotFound
from ..ids import is_upload_id, new_upload_id
from .errors import Disconnected, Gone, Interrupted, TooLarge, WrongOffset
from .locks import UploadLocks
from .names import checked_name
from .tus import ALGORITHMS, Checksum
from .upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from ..blobs.base import Appender, BlobStore
    from ..clock import Clock
    from ..telemetry import Metrics
    from .catalogue import Catalogue
    from .gateway import Gateway

_SPARE_BYTES = 64 * 1024 * 1024
"""Left free on the volume for the database and the logs, so that cleaning up works when nothing else does."""
_COMPLETE = (Phase.PROCESSING, Phase.RELEASED)


class Receiver:
    """The way in, whatever the protocol."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        gateway: Gateway,
        blobs: BlobStore,
        clock: Clock,
        metrics: Metrics,
        expiration: timedelta,
        max_size_bytes: int | None = None,
    ) -> None:
        self.max_size_bytes = max_size_bytes
        self._catalogue = catalogue
        self._gateway = gateway
        self._blobs = blobs
        self._clock = clock
        self._metrics = metrics
        self._expiration = expiration
        self._locks = UploadLocks()

    async def create(
        self, filename: str, *, size_bytes: int | None, space: str = "default", media_type: str = "", metadata: str = ""
    ) -> Upload:
        """Begin an upload; one of no bytes is complete at once.

        When this returns, the upload survives kill -9.

        Raises:
            UnsafeName: the name is not taken.
            TooLarge: it is over the limit.
            StorageFull: there is no room for it.
        """
        now = self._clock.now()
        checked_name(filename)
        self.check_size(size_bytes or 0)
        await self._check_room(size_bytes or 0)
        upload = Upload(
            id=new_upload_id(),
            filename=filename,
            space=space,
            size_bytes=size_bytes,
            media_type=media_type or "application/octet-stream",
            metadata=metadata,
            created_at=now,
            expires_at=now + self._expiration,
        )
        await self._blobs.create(upload.id)
        await self._catalogue.add(upload)
        return await self._finish(upload) if size_bytes == 0 else upload

    def check_size(self, size_bytes: int) -> None:
        """Compare a size with the limit.

        Raises:
            TooLarge: it is over the limit.
        """
        if self.max_size_bytes is not None and size_bytes > self.max_size_bytes:
            raise TooLarge(f"{size_bytes} bytes are more than this server takes ({self.max_size_bytes}).")

    async def find(self, upload_id: str) -> Upload:
        """Return an upload that can be received, or has been.

        Raises:
            NotFound: there is none of this ID.
            Gone: it was cancelled, removed or rejected, or has expired.
        """
        upload = await self._catalogue.get(upload_id) if is_upload_id(upload_id) else None
        if upload is None:
            raise NotFound(f"there is no upload {upload_id[:64]!r}. Begin a new one.")
        overdue = upload.expires_at is not None and upload.expires_at <= self._clock.now()
        if upload.phase is Phase.RECEIVING and overdue:
            raise Gone(
                f"upload {upload_id} was not complete by {upload.expires_at:%Y-%m-%d %H:%M:%S} UTC. Begin a new one."
            )
        if upload.phase not in (Phase.RECEIVING, *_COMPLETE):
            raise Gone(f"upload {upload_id} is {upload.phase}{f': {upload.reason}' if upload.reason else ''}.")
        return upload

    async def offset(self, upload_id: str) -> int:
        """Return how many bytes have arrived and are kept."""
        try:
            return await self._blobs.length(upload_id)
        except BlobMissing:
            return 0

    async def status(self, upload_id: str) -> tuple[Upload, int]:
        """Return an upload and its offset, after asking a request that is still writing to stop.

        So the offset is one that the next request will be given.

        Raises:
            NotFound, Gone: as `find`.
            Locked: a request for it does not let go.
        """
        upload = await self.find(upload_id)
        if upload.phase in _COMPLETE:
            return upload, upload.size_bytes or 0
        async with self._locks.hold(upload_id):
            upload = await self.find(upload_id)
            return upload, await self.offset(upload_id)

    async def receive(
        self, upload_id: str, offset: int, body: AsyncIterator[bytes], *, length: int | None, checksum: Checksum | None
    ) -> tuple[Upload, int]:
        """Write a request's body to the end of an upload; return the upload and its new offset.

        What arrived before a disconnection or an interruption is kept, except of a request with a checksum, of which
        nothing is kept unless all is right.

        Args:
            upload_id: the upload.
            offset: where the body begins; must be where the upload ends.
            body: the bytes.
            length: how many the body has; None if it does not say.
            checksum: what the body must hash to, or None.

        Raises:
            NotFound, Gone, Locked, Interrupted: as `status`.
            WrongOffset: nothing was written.
            TooLarge: the body is longer than what is missing; nothing was written if its length is known.
            ChecksumMismatch, Disconnected: see above.
            StorageFull: what fitted is kept.
        """
        async with self._locks.hold(upload_id):
            upload = await self.find(upload_id)
            stands = await self.offset(upload_id)
            if offset != stands:
                raise WrongOffset(sent=offset, offset=stands)
            if upload.phase in _COMPLETE or upload.size_bytes == stands:
                if length:
                    raise TooLarge(f"upload {upload_id} is complete; there is nothing to add.")
                return (upload if upload.phase in _COMPLETE else await self._finish(upload)), stands
            if length is not None:
                self._check_fits(upload, stands + length)
            tentative = checksum is not None
            async with self._blobs.append(upload_id, stands, tentative=tentative) as appender:
                await self._write(upload, appender, body, checksum)
                complete = upload.size_bytes is None or appender.length_bytes == upload.size_bytes
                if complete:
                    await appender.seal()
            stands = appender.length_bytes
            if complete:
                upload = await self._gateway.received(upload_id, size_bytes=stands)
            return upload, stands

    async def terminate(self, upload_id: str) -> None:
        """Cancel or delete an upload at any time: its bytes are freed, its processing ends.

        Raises:
            Locked: a request for it does not let go.
        """
        async with self._locks.hold(upload_id):
            await self._gateway.cancel(upload_id)

    async def _write(
        self, upload: Upload, appender: Appender, body: AsyncIterator[bytes], checksum: Checksum | None
    ) -> None:
        begin = appender.length_bytes
        digest = None if checksum is None else ALGORITHMS[checksum.algorithm]()
        try:
            async for chunk in body:
                self._check_fits(upload, appender.length_bytes + len(chunk))
                await appender.write(chunk)
                if digest is not None:
                    digest.update(chunk)
        finally:
            self._metrics.received_bytes.inc(max(0, appender.length_bytes - begin))
        if checksum is not None and digest is not None:
            checksum.check(digest.digest())

    def _check_fits(self, upload: Upload, end: int) -> None:
        if upload.size_bytes is None:
            self.check_size(end)
        elif end > upload.size_bytes:
            raise TooLarge(f"the body goes up to byte {end}, but Upload-Length is {upload.size_bytes}.")

    async def _check_room(self, size_bytes: int) -> None:
        """Compare a size with what is free and not promised to the uploads that are on their way in."""
        free = await self._blobs.free_bytes()
        if free is None:
            return
        left = free - _SPARE_BYTES
        if size_bytes <= left // 2 and await self._catalogue.declared_bytes() <= left // 2:
            return  # however little of what was declared has arrived, there is room
        missing = size_bytes + await self._missing_bytes()
        if missing > left:
            room = max(0, left - missing + size_bytes)
            raise StorageFull(f"{size_bytes} bytes do not fit: there is room for {room}. Try again later.")

    async def _missing_bytes(self) -> int:
        missing, cursor = 0, None
        while True:
            page = await self._catalogue.list(phases=[Phase.RECEIVING], limit=1000, cursor=cursor)
            for upload in page.uploads:
                missing += max(0, (upload.size_bytes or 0) - await self.offset(upload.id))
            cursor = page.next
            if cursor is None:
                return missing

    async def _finish(self, upload: Upload) -> Upload:
        size_bytes = await self._blobs.seal(upload.id)
        return await self._gateway.received(upload.id, size_bytes=size_bytes)


__all__ = ["Disconnected", "Interrupted", "Receiver"]
