"""However many send, and however slow the store is, there is no more in memory than the limits say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from obstore.store import MemoryStore

from penstock.blobs.base import BlobUnavailable
from penstock.blobs.objects import sending
from penstock.blobs.objects.bucket import Bucket
from penstock.blobs.objects.staging import ObjectStaging
from penstock.ids import new_upload_id
from penstock.testing import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KIB = 1024
SEGMENT = 64 * KIB
CHUNK = 16 * KIB
CLIENTS = 40
BODY = bytes(range(256)) * (6 * SEGMENT // 256)


class SlowBucket(Bucket):
    """Takes segments only while it is open."""

    def __init__(self) -> None:
        store = MemoryStore()
        super().__init__(store, store, name="a slow bucket", prefix="")
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0
        self.fails = False

    async def put(self, about: str, key: str, body: bytes, **how: Any) -> Any:
        if not key.endswith("/head"):
            self.waiting += 1
            await self.open.wait()
            self.waiting -= 1
            if self.fails:
                raise BlobUnavailable("the store is away")
        return await super().put(about, key, body, **how)


@pytest.fixture
def bucket() -> SlowBucket:
    return SlowBucket()


@pytest.fixture
async def staging(bucket: SlowBucket) -> AsyncIterator[ObjectStaging]:
    async with ObjectStaging(bucket, segment_bytes=SEGMENT) as opened:
        yield opened


class Crowd:
    """Clients that send as fast as they are let."""

    def __init__(self, staging: ObjectStaging) -> None:
        self.uploads = [new_upload_id() for _ in range(CLIENTS)]
        self.taken_bytes = 0
        """What they believe to be on its way: it is in memory for as long as the store takes nothing."""
        self._staging = staging

    async def send(self, upload: str, body: bytes = BODY) -> None:
        async with self._staging.append(upload, await self._staging.length(upload)) as out:
            for begin in range(0, len(body), CHUNK):
                await out.write(body[begin : begin + CHUNK])
                self.taken_bytes += CHUNK

    async def stand_still(self) -> None:
        """Wait until nobody is let go on any more."""
        turns, before = 0, -1
        while turns < 200:
            turns, before = (turns + 1 if before == self.taken_bytes else 0), self.taken_bytes
            await asyncio.sleep(0)


async def test_many_clients_of_a_slow_store_hold_no_more_than_the_limits(
    staging: ObjectStaging, bucket: SlowBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "WAITING_BYTES", 8 * SEGMENT)
    crowd = Crowd(staging)
    for upload in crowd.uploads:
        await staging.create(upload)
    bucket.open.clear()
    running = [asyncio.create_task(crowd.send(upload)) for upload in crowd.uploads]
    await eventually(lambda: bucket.waiting == sending.ALL_AT_ONCE)
    await crowd.stand_still()
    flying, waiting = sending.ALL_AT_ONCE * SEGMENT, 2 * 8 * SEGMENT
    assert crowd.taken_bytes <= flying + waiting + CLIENTS * CHUNK, "all of them had four segments on their way"
    bucket.open.set()
    await asyncio.gather(*running)
    assert staging.limits.waiting_bytes == 0
    for upload in crowd.uploads:
        assert b"".join([piece async for piece in staging.read(upload)]) == BODY


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_who_goes_gives_back_the_room(staging: ObjectStaging, bucket: SlowBucket, how: str) -> None:
    crowd = Crowd(staging)
    for upload in crowd.uploads[:6]:
        await staging.create(upload)
    bucket.open.clear()
    running = [asyncio.create_task(crowd.send(upload)) for upload in crowd.uploads[:6]]
    await eventually(lambda: bucket.waiting == sending.ALL_AT_ONCE)
    if how == "failed":
        bucket.fails = True
    else:
        for task in running:
            task.cancel()
    bucket.open.set()
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert {type(one) for one in ended} == {BlobUnavailable if how == "failed" else asyncio.CancelledError}
    assert staging.limits.waiting_bytes == 0
    bucket.fails = False
    async with asyncio.timeout(60):  # a slot that was lost would be missing now
        for _ in range(2):
            rest = [(upload, BODY[await staging.length(upload) :]) for upload in crowd.uploads[:6]]
            await asyncio.gather(*(crowd.send(upload, body) for upload, body in rest))
    assert [await staging.length(upload) for upload in crowd.uploads[:6]] == [len(BODY)] * 6
