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
"""How much all uploads together may hold that is not on its way yet, before they send what does not fill a segment."""
GONE_BACK_AT_ONCE: Final = 2
"""Of all uploads together: who goes back to bytes that were sent before, to put them together, holds a segment more."""
_TRIES: Final = 3


class Limits:
    """How much may be in memory, of all uploads together.

    Bytes count as waiting until there is a slot for them to be sent in. Who has to wait for one takes in nothing
    meanwhile, so however slow a store is, and however many send, there is no more than the two limits and what each
    one has in its hands.
    """

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(ALL_AT_ONCE)
        self.going_back = asyncio.Semaphore(GONE_BACK_AT_ONCE)
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

    async def slot(self) -> Slot:
        """Wait until one more segment may be on its way. It may from then on, until the slot is given back."""
        await self._slots.acquire()
        return Slot(self._slots)

    def too_much(self, own_bytes: int) -> bool:
        """Tell whether who holds this many is to send them now: there is too much, and these are more than a share."""
        return self.waiting_bytes > WAITING_BYTES and own_bytes * self._holders >= WAITING_BYTES


class Slot:
    """The right to have one segment on its way."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots

    def give_back(self, _: object = None) -> None:
        """Let somebody else have it; to be called once."""
        self._slots.release()


class Sending:
    """The segments of one request, on their way. They are awaited in their order."""

    def __init__(self, bucket: Bucket, upload_id: str) -> None:
        self._bucket = bucket
        self._id = upload_id
        self._flying: deque[tuple[Segment, asyncio.Task[None]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._flying)

    @property
    def full(self) -> bool:
        """Whether one has to arrive before the next one begins."""
        return len(self._flying) >= AT_ONCE

    def begin(self, segment: Segment, body: bytes, slot: Slot) -> None:
        """Send one, in a slot that is given back when it has arrived, or will not."""
        task = asyncio.create_task(self._send(segment, body))
        task.add_done_callback(slot.give_back)
        self._flying.append((segment, task))

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
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())
        for _ in range(_TRIES):
            await self._bucket.put(self._id, key, body, sha256=sha256)
            if await self._bucket.size(self._id, key) == segment.size_bytes:
                return
        raise BlobUnavailable(
            f"{self._bucket.name} says that it has taken bytes of upload {self._id}, but does not have them. "
            "What is there is kept: continue from there."
        )
