"""Carries staged bytes into the final place: hashes them, sends them, reads them back and compares.

Decision 0013 says why in these steps, and what a death between any two of them leaves; 0026 what is done again then.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from .base import BlobMissing, BlobUnavailable, FinalPlace, Staging
from .copying import SupportsCopying, SupportsOneObject
from .handover import Handovers, HandoverStage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .handover import Track

SMALL_BYTES: Final = 1024 * 1024
"""What is small enough for many of them to be on their way at the same time."""
_SMALL_AT_ONCE: Final = 16
_LARGE_AT_ONCE: Final = 4
"""Each one on its way holds some parts in memory (`objects.place`): about 40 MiB."""
HUGE_BYTES: Final = 64 * 1024**3
"""From here on parts have to be larger, or there would be too many: two of a 5 TiB file are 1.2 GiB. So there is one of
these at a time."""
_WORTH_LOOKING_BYTES: Final = 8 * 1024 * 1024
"""From which size on to ask first whether a process that died has brought it there already, and to remember a SHA-256
for the next try. To do it again is cheaper for small ones: nearly none need it."""
_REMEMBERED: Final = 1000


class Carrier:
    """Does it, some at the same time."""

    def __init__(self, staging: Staging, final: FinalPlace) -> None:
        self.handovers = Handovers()
        self._staging = staging
        self._final = final
        self._small = asyncio.Semaphore(_SMALL_AT_ONCE)
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._huge = asyncio.Semaphore(1)
        self._digests: dict[str, tuple[int, str]] = {}
        """Size and SHA-256 of what was hashed, but could not be brought there yet."""

    async def release(self, upload_id: str) -> None:
        """Copy the staged bytes into the final place, and make sure that they are there, as `BlobStore.release`."""
        try:
            size_bytes = await self._staging.length(upload_id)
        except BlobMissing:
            await self._final.size(upload_id)
            return
        with self.handovers.begin(upload_id, size_bytes) as track:
            async with self._turn(size_bytes):
                await self._carry(upload_id, size_bytes, track)
        self.forget(upload_id)

    def forget(self, upload_id: str) -> None:
        """Remember nothing of an upload."""
        self._digests.pop(upload_id, None)

    async def _carry(self, upload_id: str, size_bytes: int, track: Track) -> None:
        staged = await self._digest(upload_id, size_bytes, track)
        if await self._is_there_already(upload_id, size_bytes, staged, track):
            return
        track.enters(HandoverStage.COPYING)
        if await self._was_copied(upload_id, size_bytes, staged, track):
            return
        pieces = self._staging.read(upload_id, stop=size_bytes)
        await self._final.put(upload_id, pieces, size_bytes=size_bytes, sha256=staged, arrived=track.to)
        if not await self._holds(upload_id, size_bytes, staged, track):
            self.forget(upload_id)  # it may be what is staged that is not what it was
            # Where another instance has released it meanwhile, that is the only copy: nothing is staged any more.
            await self._staging.length(upload_id)
            await self._final.remove(upload_id)
            raise BlobUnavailable(
                f"{self._final.name} has taken upload {upload_id}, but gives other bytes back than it was sent. "
                "They stay staged and are sent again."
            )

    def _turn(self, size_bytes: int) -> asyncio.Semaphore:
        if size_bytes <= SMALL_BYTES:
            return self._small
        return self._large if size_bytes < HUGE_BYTES else self._huge

    async def _digest(self, upload_id: str, size_bytes: int, track: Track) -> str:
        """Return the SHA-256 of what is staged: it was sealed, and is the same as when this process looked before."""
        known_bytes, sha256 = self._digests.get(upload_id, (-1, ""))
        if known_bytes == size_bytes:
            return sha256
        track.enters(HandoverStage.READING)
        hashed = _Hashed(track)
        await hashed.add(self._staging.read(upload_id, stop=size_bytes))
        sha256 = hashed.sha256
        if size_bytes >= _WORTH_LOOKING_BYTES:
            self._digests[upload_id] = size_bytes, sha256
            while len(self._digests) > _REMEMBERED:
                del self._digests[next(iter(self._digests))]
        return sha256

    async def _is_there_already(self, upload_id: str, size_bytes: int, sha256: str, track: Track) -> bool:
        return size_bytes >= _WORTH_LOOKING_BYTES and await self._holds(upload_id, size_bytes, sha256, track)

    async def _was_copied(self, upload_id: str, size_bytes: int, sha256: str, track: Track) -> bool:
        """Have the service copy what is one object already; whatever stands in the way, the bytes can be sent."""
        if not isinstance(self._staging, SupportsOneObject) or not isinstance(self._final, SupportsCopying):
            return False
        try:
            source = await self._staging.only_object(upload_id, size_bytes)
            if source is None:
                return False
            await self._final.copy_from(source, upload_id)
        except (BlobMissing, BlobUnavailable):
            return False
        return await self._holds(upload_id, size_bytes, sha256, track)

    async def _holds(self, upload_id: str, size_bytes: int, sha256: str, track: Track) -> bool:
        """Read back all that the final place has, and tell whether it is this."""
        try:
            if await self._final.size(upload_id) != size_bytes:
                return False
            track.enters(HandoverStage.VERIFYING)
            return await self._digest_of_kept(upload_id, track) == sha256
        except BlobMissing:
            return False

    async def _digest_of_kept(self, upload_id: str, track: Track) -> str:
        """Read back; where that is cut, go on from there for as long as something comes."""
        hashed = _Hashed(track)
        while True:
            begin = hashed.came_bytes
            try:
                await hashed.add(self._final.read(upload_id, start=begin))
            except BlobUnavailable:
                if hashed.came_bytes == begin:
                    raise
            else:
                return hashed.sha256


class _Hashed:
    """The SHA-256 of what has come so far."""

    def __init__(self, track: Track) -> None:
        self.came_bytes = 0
        self._digest = hashlib.sha256()
        self._track = track

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def add(self, pieces: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                await asyncio.to_thread(self._digest.update, piece)  # without the interpreter's lock: nobody waits
                self.came_bytes += len(piece)
                self._track.to(self.came_bytes)
