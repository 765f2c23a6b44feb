"""Bytes that are read, and keys under which there are none."""

from __future__ import annotations

import asyncio
import random

import pytest

from ...blobs.base import BlobMissing
from .opening import MIB, OpensBlobs, append, new_blob, read

_NO_IDS = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a" * 31 + "/",
    "A" * 32,
    "0" * 33,
    "0" * 31 + "\0",
    "٠" * 32,
]


class Reading(OpensBlobs):
    """A blob that is read."""

    async def test_parts_of_a_released_blob_are_read(self) -> None:
        body = random.Random(2).randbytes(2 * MIB + 77)
        async with self.open() as blobs:
            upload = await new_blob(blobs, body)
            await blobs.release(upload)
            await blobs.unstage(upload)
            for start, stop in [(0, None), (5, None), (0, 1), (7, 7), (MIB - 1, MIB + 1), (len(body) - 1, None)]:
                assert await read(blobs, upload, start, stop) == body[start:stop]
            assert await read(blobs, upload, 3, len(body) + 100) == body[3:]
            assert await read(blobs, upload, len(body)) == b""
            assert await read(blobs, upload, len(body) + 1) == b""
            assert max([len(piece) async for piece in blobs.read(upload)]) <= MIB

    async def test_parts_are_read(self) -> None:
        body = random.Random(1).randbytes(2 * MIB + 77)
        async with self.open() as blobs:
            upload = await new_blob(blobs, body)
            for start, stop in [(0, None), (5, None), (0, 1), (7, 7), (MIB - 1, MIB + 1), (len(body) - 1, None)]:
                assert await read(blobs, upload, start, stop) == body[start:stop]
            assert await read(blobs, upload, 3, len(body) + 100) == body[3:]
            assert await read(blobs, upload, len(body) + 1) == b""

    async def test_pieces_are_bounded(self) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, bytes(5 * MIB))
            assert max([len(piece) async for piece in blobs.read(upload)]) <= MIB

    async def test_uploads_do_not_touch_each_other(self) -> None:
        async with self.open() as blobs:
            uploads = [await new_blob(blobs) for _ in range(8)]

            async def fill(number: int) -> None:
                for offset in range(0, 40, 4):
                    await append(blobs, uploads[number], offset, b"%d   " % number)

            await asyncio.gather(*map(fill, range(8)))
            assert [self.peek(upload) for upload in uploads] == [b"%d   " % number * 10 for number in range(8)]

    async def test_room_is_a_number_or_unknown(self) -> None:
        async with self.open() as blobs:
            free = await blobs.free_bytes()
            assert free is None or free > 0

    @pytest.mark.parametrize("name", _NO_IDS)
    async def test_nothing_but_an_upload_id_is_a_key(self, name: str) -> None:
        async with self.open() as blobs:
            for attempt in (
                blobs.create(name),
                blobs.length(name),
                blobs.seal(name),
                blobs.concatenate(name, []),
                blobs.release(name),
                append(blobs, name, 0, b"x"),
                read(blobs, name),
                blobs.discard(name),
            ):
                with pytest.raises(BlobMissing):
                    await attempt
