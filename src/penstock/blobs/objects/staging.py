"""Stages uploads in an object store, so that a gateway needs no disk, and its successor goes on where it ended.

Below the prefix each upload has a folder, named by its ID: its head, and its segments (`head`). What is on its way in
can be read by nobody through Penstock but by the steps. Whoever may read the bucket itself sees it: give out the right
to read without the folder `staging`.

Several instances may stage in one place: whoever takes an upload over writes its head anew, and then nothing counts
that was begun before.

What a death leaves, a segment that no head names, goes when the upload's staged bytes go: the whole folder is removed.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, Self

import structlog

from ...errors import ConfigurationError, PenstockError
from ...ids import is_upload_id
from ...threads import to_its_end
from ..base import BlobMissing, BlobUnavailable
from ..copying import SupportsOneObject
from ..inventory import Stage, SupportsInventory
from ..sharing import FencedStaging, SupportsIdentity
from .appender import ObjectAppender
from .assembly import assembled
from .bucket import LARGEST_PIECE_BYTES, Bucket, Changed
from .head import SEGMENT_BYTES, TAIL_BYTES, Head
from .heads import DamagedHead, Heads, Superseded, key_of
from .sending import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from ..inventory import Found
    from .head import Segment

log = structlog.get_logger(__name__)

_TRIES: Final = 3
_READ_AT_ONCE: Final = 8
_IDENTITY: Final = "installation"


class ObjectStaging(FencedStaging, SupportsInventory, SupportsIdentity, SupportsOneObject):
    """Segments in a bucket; see the module's description."""

    def __init__(self, bucket: Bucket, *, segment_bytes: int = SEGMENT_BYTES, shared: bool = False) -> None:
        """Stage in `bucket`, in segments of this size; what other sizes have left is read all the same.

        With `shared`, other instances do as well.
        """
        self.bucket = bucket
        self._shared = shared
        self.heads = Heads(bucket)
        self.limits = Limits()
        self.segment_bytes = segment_bytes

    async def __aenter__(self) -> Self:
        """Find out what the service can do.

        Raises:
            BlobUnavailable: nothing can be written or removed.
            ConfigurationError: it cannot be shared.
        """
        if not await self.heads.find_out(f"penstock-check-{secrets.token_hex(8)}"):
            if self._shared:
                raise ConfigurationError(
                    f"staging=objects: {self.bucket.name} knows no conditional writes (If-Match), so several instances "
                    "cannot stage there. Set PENSTOCK_STAGING=local, with one folder for all."
                )
            log.warning(
                "staging_unfenced",
                bucket=self.bucket.name,
                hint="it knows no conditional writes (If-Match): let one gateway at a time stage there",
            )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing is held open."""

    async def create(self, upload_id: str, then: Callable[[], None] | None = None) -> None:
        """Begin an empty upload."""
        await self.heads.create(upload_id)
        if then is not None:
            await to_its_end(then)

    async def length(self, upload_id: str) -> int:
        """Return how many bytes count."""
        return (await self.heads.read(upload_id)).head.length_bytes

    def append(self, upload_id: str, offset: int, *, tentative: bool = False) -> ObjectAppender:
        """Open an upload for more bytes."""
        return ObjectAppender(self, upload_id, offset, tentative=tentative)

    def append_confirmed(
        self, upload_id: str, offset: int, *, tentative: bool = False, confirm: Callable[[int], Awaitable[None]]
    ) -> ObjectAppender:
        """Open an upload for more bytes, at the revision of its head that is there when `confirm` is called."""
        return ObjectAppender(self, upload_id, offset, tentative=tentative, confirm=confirm)

    async def fence(
        self, upload_id: str, kept_bytes: int | None, size_bytes: int | None, confirm: Callable[[], Awaitable[None]]
    ) -> None:
        """Have nothing count that was begun before: also where all is there, of which an earlier writer takes back."""
        del kept_bytes, size_bytes
        await self.heads.renew(upload_id, confirm)

    async def flushed(self, upload_id: str) -> None:
        """Tell that nobody has to know: all see at once what the service has taken."""
        del upload_id

    async def identity(self, *, make: bool) -> str:
        """Return what the object `installation` says, which is made once, whoever starts at the same moment."""
        if make:
            with suppress(Changed):
                await self.bucket.put("", _IDENTITY, secrets.token_hex(16).encode(), mode="create")
        try:
            return (await self.bucket.get("", _IDENTITY)).content.decode(errors="replace").strip()
        except BlobMissing:
            return ""

    async def concatenate(self, upload_id: str, sources: Sequence[str]) -> int:
        """Put uploads together; the service copies their segments."""
        before = await self.heads.read(upload_id)
        different = sorted(set(sources))
        heads = dict(zip(different, await self._heads_of(different), strict=True))
        head = await assembled(self.bucket, upload_id, [(source, heads[source]) for source in sources])
        try:
            saved = await self.heads.save(upload_id, before, head)
        except Superseded:
            raise BlobUnavailable(f"upload {upload_id} was changed while it was put together. Try again.") from None
        return (
            saved.head.length_bytes
        )  # what counted before stays, since somebody may be reading it: it goes at the end

    async def seal(self, upload_id: str) -> int:
        """Return how many bytes count, and have no more count: what is there is durable already.

        What was sent for an earlier request, and seemed to be lost, may still be on its way to the service.
        """
        return (await self.heads.renew(upload_id)).head.length_bytes

    async def discard(self, upload_id: str, *, only_staged: bool = False) -> None:
        """Remove the head, from when on nothing counts nor can count again, and all segments."""
        del only_staged  # nothing is released here
        await self.bucket.remove(upload_id, [key_of(upload_id)])
        await self.bucket.remove(upload_id, await self.bucket.keys(upload_id, upload_id))

    async def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield bytes; those of whole segments after they were compared with their SHA-256."""
        head = (await self.heads.read(upload_id)).head
        stop = head.length_bytes if stop is None else min(stop, head.length_bytes)
        if start >= stop:
            return
        async with aclosing(self.pieces(upload_id, head, start, stop)) as pieces:
            async for piece in pieces:
                yield piece
        tail = head.tail[max(0, start - head.runs_end) : max(0, stop - head.runs_end)]
        if tail:
            yield tail

    async def only_object(self, upload_id: str, size_bytes: int) -> str | None:
        """Return the segment that has all bytes: of a size that is neither kept in the head nor in several segments."""
        if not TAIL_BYTES < size_bytes <= self.segment_bytes:
            return None
        head = (await self.heads.read(upload_id)).head
        segments = list(head.segments())
        if head.tail or len(segments) != 1 or segments[0].size_bytes != size_bytes:
            return None
        return self.bucket.name_of(f"{upload_id}/{segments[0].name}")

    async def staged(self) -> list[str]:
        """Return the IDs of all uploads of which there is something."""
        return [name for name in await self.bucket.folders() if is_upload_id(name)]

    async def inventory(self) -> AsyncGenerator[Sequence[Found], None]:
        """Yield what is staged, an upload as one thing; its size is that of the bytes that count, if any do."""
        async with aclosing(self.bucket.inventory()) as batches:
            async for batch in batches:
                yield [await self._counted(found) for found in batch]

    async def remove_found(self, found: Found) -> bool:
        """Remove an upload if nothing was written for it since it was found."""
        if found.stage is Stage.PROBE:
            await self.bucket.remove("", [found.key])
            return True
        if await self.bucket.newest(found.upload_id, found.upload_id) != found.changed_at:
            return False
        await self.discard(found.upload_id)
        return True

    async def free_bytes(self) -> None:
        """Tell that nobody knows."""
        return

    async def pieces(self, upload_id: str, head: Head, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of segments from `start` up to, not including, `stop`."""
        for segment in head.segments(start, stop):
            begin, end = max(start, segment.begin), min(stop, segment.end)
            if end - begin == segment.size_bytes:
                body = memoryview(await self._whole(upload_id, segment))
                for at in range(0, len(body), LARGEST_PIECE_BYTES):
                    yield bytes(body[at : at + LARGEST_PIECE_BYTES])
            else:
                async with aclosing(self._part(upload_id, segment, begin, end)) as part:
                    async for piece in part:
                        yield piece

    async def remove(self, upload_id: str, segments: Iterable[Segment]) -> None:
        """Remove segments that do not count, as far as it goes: the rest goes with the upload."""
        with suppress(PenstockError):
            await self.bucket.remove(upload_id, [f"{upload_id}/{segment.name}" for segment in segments])

    async def _counted(self, found: Found) -> Found:
        if found.stage is Stage.PROBE:
            return found
        try:
            return found._replace(size_bytes=await self.length(found.upload_id))
        except (BlobMissing, DamagedHead):  # it holds up no other
            return found

    async def _heads_of(self, upload_ids: Sequence[str]) -> list[Head]:
        heads = list[Head]()
        for start in range(0, len(upload_ids), _READ_AT_ONCE):
            reading = [self.heads.read(upload_id) for upload_id in upload_ids[start : start + _READ_AT_ONCE]]
            for found in await asyncio.gather(*reading, return_exceptions=True):
                if isinstance(found, BaseException):
                    raise found
                heads.append(found.head)
        return heads

    async def _whole(self, upload_id: str, segment: Segment) -> bytes:
        for _ in range(_TRIES):
            found = await self.bucket.get(upload_id, f"{upload_id}/{segment.name}")
            sha256 = await asyncio.to_thread(_digest, found.content)
            if len(found.content) == segment.size_bytes and found.sha256 in ("", sha256):
                return found.content
        raise BlobUnavailable(
            f"{self.bucket.name} gives other bytes back for upload {upload_id} than it was sent "
            f"(bytes {segment.begin} to {segment.end}). They were not used."
        )

    async def _part(self, upload_id: str, segment: Segment, begin: int, end: int) -> AsyncGenerator[bytes, None]:
        key, missing = f"{upload_id}/{segment.name}", end - begin
        stream = self.bucket.stream(upload_id, key, begin - segment.begin, end - segment.begin)
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                missing -= len(piece)
                yield piece
        if missing:
            raise BlobUnavailable(f"{self.bucket.name} gives too few bytes back for upload {upload_id}.")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
