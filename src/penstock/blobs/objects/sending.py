"""Sends segments, some at the same time, and makes sure of each that it is there."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import TYPE_CHECKING, Final

from ...errors import PenstockError
from ..base import BlobUnavailable
from .head import Segment

if TYPE_CHECKING:
    from .bucket import Bucket

AT_ONCE: Final = 4
"""Of one upload."""
ALL_AT_ONCE: Final = 8
"""Of all uploads together: 64 MiB."""
WAITING_BYTES: Final = 64 * 1024 * 1024
"""How much all uploads together may hold that does not fill a segment yet, before they send smaller ones."""
_TRIES: Final = 3


class Limits:
    """How much may be in memory, of all uploads together."""

    def __init__(self) -> None:
        self.flights = asyncio.Semaphore(ALL_AT_ONCE)
        self.waiting_bytes = 0
        self._holders = 0

    def begins(self) -> None:
        """Note that one more request holds bytes."""
        self._holders += 1

    def ends(self) -> None:
        """Note that it does no longer."""
        self._holders -= 1

    def holds(self, more_bytes: int) -> None:
        """Note that there are more bytes that wait, or fewer."""
        self.waiting_bytes += more_bytes

    def too_much(self, own_bytes: int) -> bool:
        """Tell whether who holds this many is to send them now: there is too much, and these are more than a share."""
        return self.waiting_bytes > WAITING_BYTES and own_bytes * self._holders >= WAITING_BYTES


class Sending:
    """The segments of one request, on their way. They are awaited in their order."""

    def __init__(self, bucket: Bucket, limits: Limits, upload_id: str) -> None:
        self._bucket = bucket
        self._limits = limits
        self._id = upload_id
        self._flying: deque[tuple[Segment, asyncio.Task[None]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._flying)

    @property
    def full(self) -> bool:
        """Whether one has to arrive before the next one begins."""
        return len(self._flying) >= AT_ONCE

    def begin(self, segment: Segment, body: bytes) -> None:
        """Send one."""
        self._flying.append((segment, asyncio.create_task(self._send(segment, body))))

    async def arrived(self) -> Segment:
        """Wait for the first of those on their way. A cancellation leaves it there.

        Raises:
            BlobUnavailable: it has not arrived.
        """
        segment, task = self._flying[0]
        await asyncio.wait([task])
        self._flying.popleft()
        task.result()
        return segment

    async def given_up(self) -> list[Segment]:
        """Wait until nothing is on its way any more; return what may have arrived."""
        segments = list[Segment]()
        while self._flying:
            segments.append(self._flying[0][0])
            try:
                await self.arrived()
            except PenstockError:
                continue
        return segments

    async def _send(self, segment: Segment, body: bytes) -> None:
        key = f"{self._id}/{segment.name}"
        async with self._limits.flights:
            sha256 = await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())
            for _ in range(_TRIES):
                await self._bucket.put(self._id, key, body, sha256=sha256)
                if await self._bucket.size(self._id, key) == segment.size_bytes:
                    return
        raise BlobUnavailable(
            f"{self._bucket.name} says that it has taken bytes of upload {self._id}, but does not have them. "
            "What is there is kept: continue from there."
        )
