"""One object for each upload in a bucket, or in what the service calls so.

Needs permission to write, read and remove objects below the prefix, and to abort multipart uploads; to list them for
garbage collection. An object is there when all of it is: large ones are written in parts that nobody sees before the
end. Parts that nobody will ever end are aborted; those of a process that was killed are found by garbage collection, or
removed by a rule of the bucket (docs/guide/storage.md). The SHA-256 of an object is in its metadata as `sha256`; that
of the service (ETag) is none.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Self

import obstore

from ...errors import ConfigurationError, PenstockError
from ...ids import is_upload_id
from ..base import BlobMissing, BlobUnavailable, SupportsStaging
from ..copying import SupportsCopying
from ..inventory import Found, Stage, SupportsInventory
from ..links import Copy, Lending, SupportsLinks
from .bucket import STALL_SECONDS, Bucket, streamed
from .feed import Feed, ended_with
from .inventory import objects, remove_object
from .staging import ObjectStaging
from .trouble import trouble_about

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from datetime import timedelta

    from obstore.store import ObjectStore

    from .parts import UnfinishedParts

PART_BYTES: Final = 8 * 1024 * 1024
"""What is sent in one request; larger files are sent in parts of at least this size."""
_PARTS: Final = 9_000
"""S3 takes 10,000."""
_PARTS_AT_ONCE: Final = 4
PATIENT_BYTES: Final = 256 * 1024 * 1024
"""From which size on a store that is away for minutes is waited for in the middle, and not all of it is sent anew."""
CHECK_SECONDS: Final = 20.0


class ObjectPlace(Lending, SupportsInventory, SupportsLinks, SupportsStaging, SupportsCopying):
    """Objects below a prefix."""

    def __init__(
        self,
        writing: ObjectStore,
        reading: ObjectStore,
        *,
        name: str,
        prefix: str,
        parts: UnfinishedParts | None = None,
        lends: bool = False,
        patient: ObjectStore | None = None,
    ) -> None:
        """Work on the same bucket through several clients.

        Args:
            writing: its requests have to end within a time.
            reading: its requests may last as long as somebody reads.
            name: what it is and where, for messages.
            prefix: what the names of objects begin with; empty, or without a slash at its ends.
            parts: finds those that nobody has put together; None where the service removes them by itself.
            lends: whether what lies in it are copies, for steps to fetch.
            patient: tries to send a part for longer, for large files; None: `writing`.
        """
        self.name = name
        self._lends = lends
        self._writing = writing
        self._patient = patient or writing
        self._reading = reading
        self._prefix = f"{prefix}/" if prefix else ""
        self._parts = parts

    async def __aenter__(self) -> Self:
        key = f"{self._prefix}penstock-check-{secrets.token_hex(8)}"
        content = key.encode()
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._try(key, content)
        except TimeoutError:
            raise ConfigurationError(f"{self.name} did not answer within {CHECK_SECONDS:.0f} seconds.") from None
        except PenstockError as error:
            raise ConfigurationError(
                f"released files cannot be kept as the settings say: {error} Correct storage_…, or what they name."
            ) from None
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing is held open."""

    async def put(
        self,
        upload_id: str,
        pieces: AsyncGenerator[bytes, None],
        *,
        size_bytes: int,
        sha256: str,
        arrived: Callable[[int], None] | None = None,
    ) -> None:
        """Write an object, in parts if it is large."""
        key = self._key(upload_id)
        attributes: Any = {"Content-Type": "application/octet-stream", "sha256": sha256}
        async with aclosing(pieces):
            with trouble_about(upload_id, self.name):
                if size_bytes <= PART_BYTES:
                    body = b"".join([piece async for piece in pieces])
                    await obstore.put_async(self._writing, key, body, attributes=attributes, use_multipart=False)
                    return
                at_once = parts_at_once(part_bytes(size_bytes))
                # One part fills, and what was taken last may wait for its room.
                feed = Feed(pieces, arrived, on_their_way_bytes=(at_once + 2) * part_bytes(size_bytes))
                putting = obstore.put_async(
                    self._patient if size_bytes >= PATIENT_BYTES else self._writing,
                    key,
                    feed,
                    attributes=attributes,
                    use_multipart=True,
                    chunk_size=part_bytes(size_bytes),
                    max_concurrency=at_once,
                )
                await ended_with(feed, putting)

    async def copy_from(self, source: str, upload_id: str) -> None:
        """Have the service copy an object, with what it has noted about it."""
        with trouble_about(upload_id, self.name):
            async with asyncio.timeout(STALL_SECONDS):
                await obstore.copy_async(self._writing, source, self._key(upload_id))

    async def size(self, upload_id: str) -> int:
        """Return the size of an object."""
        return (await self.copy(upload_id)).size_bytes

    async def copy(self, upload_id: str) -> Copy:
        """Return size and ETag of an object, and its version where the bucket keeps versions."""
        key = self._key(upload_id)
        try:
            with trouble_about(upload_id, self.name):
                async with asyncio.timeout(STALL_SECONDS):
                    found = await obstore.head_async(self._writing, key)
            return Copy(found["size"], " ".join(filter(None, (found["e_tag"], found["version"]))))
        except BlobMissing:
            await self.check()  # the answer to HEAD does not tell a missing object from a missing bucket
            raise

    async def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an object as they come."""
        key, begun = self._key(upload_id), False
        try:
            with trouble_about(upload_id, self.name):
                async with aclosing(self._stream(key, start, stop)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
        except BlobUnavailable:
            # Each service has its own way to say that there is nothing from there on.
            if begun or (not start and stop is None) or await self.size(upload_id) > start:
                raise

    async def remove(self, upload_id: str) -> None:
        """Remove an object."""
        key = self._key(upload_id)
        try:
            with trouble_about(upload_id, self.name):
                async with asyncio.timeout(STALL_SECONDS):
                    await obstore.delete_async(self._writing, key)
        except BlobMissing:
            return

    def staging(self, *, shared: bool = False) -> ObjectStaging:
        """Return what stages in the folder `staging` below the prefix."""
        bucket = Bucket(self._writing, self._reading, name=self.name, prefix=f"{self._prefix}staging/")
        return ObjectStaging(bucket, shared=shared)

    def lending(self) -> ObjectPlace:
        """Return the place for copies: the folder `delivery` below the prefix."""
        name, prefix = f"{self.name}, folder delivery", f"{self._prefix}delivery"
        return ObjectPlace(
            self._writing,
            self._reading,
            name=name,
            prefix=prefix,
            parts=self._parts,
            lends=True,
            patient=self._patient,
        )

    async def link(self, upload_id: str, *, life: timedelta) -> str:
        """Have the client sign an address; no request is made for it."""
        with trouble_about(upload_id, self.name):
            signing: Any = self._reading  # all three services can, but not every store of the library
            url: str = await obstore.sign_async(signing, "GET", self._key(upload_id), expires_in=life)
            return url

    async def kept(self) -> list[str]:
        """Return the IDs of all objects below the prefix."""
        found = list[str]()
        async with aclosing(self._objects()) as batches:
            async for batch in batches:
                found += [one.upload_id for one in batch if one.stage is not Stage.PROBE]
        return found

    async def check(self) -> None:
        """Ask for an object that nobody has."""
        try:
            with trouble_about(None, self.name):
                async with asyncio.timeout(STALL_SECONDS):
                    await obstore.get_async(self._reading, f"{self._prefix}penstock-check-nothing")
        except BlobMissing:
            return

    async def inventory(self) -> AsyncGenerator[Sequence[Found], None]:
        """Yield the objects below the prefix, then parts of some that were never ended."""
        async with aclosing(self._objects()) as batches:
            async for batch in batches:
                yield batch
        if self._parts is not None:
            yield await self._parts.found(self._prefix, self.name)

    async def _objects(self) -> AsyncGenerator[Sequence[Found], None]:
        stage = Stage.LENT if self._lends else Stage.RELEASED
        with trouble_about(None, self.name):
            async with aclosing(objects(self._writing, self._prefix, self.name, stage)) as batches:
                async for batch in batches:
                    yield batch

    async def remove_found(self, found: Found) -> bool:
        """Remove an object, or parts of one."""
        if found.stage is Stage.PARTS:
            return self._parts is not None and await self._parts.abort(found)
        try:
            with trouble_about(found.upload_id, self.name):
                async with asyncio.timeout(STALL_SECONDS):
                    return await remove_object(self._writing, found)
        except BlobMissing:
            return False

    def _key(self, upload_id: str) -> str:
        if not is_upload_id(upload_id):
            raise BlobMissing(f"{upload_id[:100]!r} is not an upload ID, so no bytes are kept under it")
        return f"{self._prefix}{upload_id}"

    async def _stream(self, key: str, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        if stop is not None and stop <= start:
            return
        options: Any = {}
        if stop is not None:
            options = {"range": (start, stop)}
        elif start:
            options = {"range": {"offset": start}}
        async for piece in streamed(self._reading, key, options):
            yield piece

    async def _try(self, key: str, content: bytes) -> None:
        with trouble_about(None, self.name):
            await obstore.put_async(self._writing, key, content, use_multipart=False)
            answer = await obstore.get_async(self._reading, key)
            read = bytes(await answer.bytes_async())
            await obstore.delete_async(self._writing, key)
        if read != content:
            raise BlobUnavailable(f"{self.name} gives other bytes back than it was sent.")


def parts_at_once(part_size_bytes: int) -> int:
    """Return how many parts of a size may be on their way: as much as of the least size, but one at least."""
    return max(1, _PARTS_AT_ONCE * PART_BYTES // part_size_bytes)


def part_bytes(size_bytes: int) -> int:
    """Return the size of the parts for an object: so large that there are not too many, in whole MiB."""
    mebibyte = 1024 * 1024
    return max(PART_BYTES, -(-size_bytes // (_PARTS * mebibyte)) * mebibyte)
