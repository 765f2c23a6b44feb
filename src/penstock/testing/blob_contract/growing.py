"""Bytes that are added to a blob, and other blobs that it is made of."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from ...blobs.base import BlobMissing, OffsetConflict
from ...ids import new_upload_id
from .opening import MIB, OpensBlobs, append, append_and_fail, new_blob, read


class Growing(OpensBlobs):
    """A blob that comes in."""

    async def test_a_created_blob_is_empty_and_staged(self) -> None:
        async with self.open() as blobs:
            upload = new_upload_id()
            await blobs.create(upload)
            assert await blobs.length(upload) == 0
            assert upload in await blobs.staged()
            assert self.peek(upload) == b""

    async def test_what_follows_a_creation_may_wait_and_is_waited_for(self) -> None:
        here, seen = threading.current_thread(), list[bool]()
        async with self.open() as blobs:
            upload = new_upload_id()
            await blobs.create(upload, lambda: seen.append(threading.current_thread() is not here))
            assert seen == [True]
            assert await blobs.length(upload) == 0

    async def test_creating_again_keeps_the_bytes(self) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            await blobs.create(upload)
            assert self.peek(upload) == b"bytes"

    async def test_appends_add_up_and_survive_reopening(self) -> None:
        upload = new_upload_id()
        async with self.open() as blobs:
            await blobs.create(upload)
            async with blobs.append(upload, 0) as out:
                await out.write(b"one ")
                await out.write(b"two ")
        async with self.open() as blobs:
            assert await blobs.length(upload) == 8
            async with blobs.append(upload, 8) as out:
                await out.write(b"three")
            assert out.length_bytes == 13
            assert self.peek(upload) == b"one two three"

    async def test_chunks_of_all_sizes_arrive_in_order(self) -> None:
        chance = random.Random(7)
        chunks = [chance.randbytes(size) for size in (1, 0, MIB, 3, 5 * MIB, *range(600), MIB - 1, MIB + 1)]
        async with self.open() as blobs:
            upload = new_upload_id()
            await blobs.create(upload)
            async with blobs.append(upload, 0) as out:
                for chunk in chunks:
                    await out.write(chunk)
                assert out.length_bytes == sum(map(len, chunks))
            assert self.peek(upload) == b"".join(chunks)

    async def test_nothing_can_be_appended_to_what_is_not_there(self) -> None:
        async with self.open() as blobs:
            upload = new_upload_id()
            with pytest.raises(BlobMissing):
                await append(blobs, upload, 0, b"x")
            with pytest.raises(BlobMissing):
                await append(blobs, upload, 0)
            with pytest.raises(BlobMissing):
                await append(blobs, upload, 0, bytes(3 * MIB))
            assert self.peek(upload) is None

    @pytest.mark.parametrize("offset", [0, 4, 6, 1 << 40])
    @pytest.mark.parametrize("body", [b"", b"x", bytes(3 * MIB)], ids=["empty", "small", "large"])
    async def test_an_append_must_begin_where_the_blob_ends(self, offset: int, body: bytes) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            with pytest.raises(OffsetConflict) as raised:
                await append(blobs, upload, offset, body)
            assert raised.value.length_bytes == 5
            assert self.peek(upload) == b"bytes"

    @pytest.mark.parametrize("size", [1, 3 * MIB + 1])
    async def test_an_error_in_the_middle_keeps_what_was_written(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            with pytest.raises(ConnectionError):
                await append_and_fail(blobs, upload, 5, b"x" * size)
            assert self.peek(upload) == b"bytes" + b"x" * size
            assert await blobs.length(upload) == 5 + size

    @pytest.mark.parametrize("size", [1, 3 * MIB + 1])
    async def test_a_cancellation_in_the_middle_keeps_what_was_written(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs)
            written = asyncio.Event()

            async def receive() -> None:
                async with blobs.append(upload, 0) as out:
                    await out.write(b"x" * size)
                    written.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(receive())
            await written.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert self.peek(upload) == b"x" * size
            await append(blobs, upload, size, b"more")
            assert self.peek(upload) == b"x" * size + b"more"

    @pytest.mark.parametrize("size", [1, 3 * MIB + 1])
    async def test_rollback_forgets_this_context_only(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            async with blobs.append(upload, 5) as out:
                await out.write(b"x" * size)
                await out.rollback()
                assert out.length_bytes == 5
            assert self.peek(upload) == b"bytes"
            await append(blobs, upload, 5, b"!")
            assert self.peek(upload) == b"bytes!"

    @pytest.mark.parametrize("size", [0, 1, 3 * MIB + 1])
    async def test_tentative_bytes_count_when_the_context_ends_well(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            async with blobs.append(upload, 5, tentative=True) as out:
                await out.write(b"x" * size)
            assert await blobs.length(upload) == out.length_bytes == 5 + size
            assert self.peek(upload) == b"bytes" + b"x" * size

    @pytest.mark.parametrize("size", [1, 3 * MIB + 1])
    async def test_tentative_bytes_leave_no_trace_after_an_error(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            with pytest.raises(ConnectionError):
                await append_and_fail(blobs, upload, 5, b"x" * size, tentative=True)
            assert await blobs.length(upload) == 5
            assert self.peek(upload) == b"bytes"

    @pytest.mark.parametrize("then", ["length", "append", "seal", "release"])
    @pytest.mark.parametrize("size", [1, 3 * MIB + 1])
    async def test_tentative_bytes_leave_no_trace_after_a_crash(self, size: int, then: str) -> None:
        async with self.open() as dying:
            upload = await new_blob(dying, b"bytes")
            out = await dying.append(upload, 5, tentative=True).__aenter__()
            await out.write(b"x" * size)
            # And here the process dies: the context is never left.
        async with self.open() as blobs:
            assert await blobs.length(upload) == 5
            if then == "append":
                await append(blobs, upload, 5, b"!")
                assert self.peek(upload) == b"bytes!"
            elif then != "length":
                assert await blobs.seal(upload) == 5
                assert self.peek(upload) == b"bytes"
            if then == "release":
                await blobs.release(upload)
                assert await read(blobs, upload) == b"bytes"

    async def test_blobs_are_put_together_in_their_order(self) -> None:
        one, two, released = random.Random(1).randbytes(5 * MIB + 1), b"two", b"released"
        async with self.open() as blobs:
            parts = [await new_blob(blobs, body) for body in (one, two, b"", released)]
            await blobs.seal(parts[3])
            await blobs.release(parts[3])
            await blobs.unstage(parts[3])
            whole = await new_blob(blobs)
            assert await blobs.concatenate(whole, [*parts, parts[1]]) == len(one + two + released + two)
        async with self.open() as blobs:
            assert self.peek(whole) == one + two + released + two
            assert await blobs.length(whole) == len(one + two + released + two)
            assert [self.peek(part) for part in parts] == [one, two, b"", released]
            assert await blobs.seal(whole) == len(one + two + released + two)
            for part in parts:
                await blobs.discard(part)
            assert await read(blobs, whole) == one + two + released + two

    async def test_putting_together_again_replaces_what_was_there(self) -> None:
        async with self.open() as blobs:
            part, whole = await new_blob(blobs, b"part"), await new_blob(blobs, b"something longer than it")
            for _ in range(2):
                assert await blobs.concatenate(whole, [part, part]) == 8
                assert self.peek(whole) == b"partpart"
            assert await blobs.concatenate(whole, []) == 0
            assert self.peek(whole) == b""

    async def test_nothing_is_put_together_when_a_source_is_missing(self) -> None:
        async with self.open() as blobs:
            part, whole = await new_blob(blobs, random.Random(2).randbytes(MIB)), await new_blob(blobs)
            with pytest.raises(BlobMissing):
                await blobs.concatenate(whole, [part, new_upload_id(), part])
            assert await blobs.length(whole) == 0
            with pytest.raises(BlobMissing):
                await blobs.concatenate(new_upload_id(), [part])
            assert await blobs.concatenate(whole, [part]) == MIB

    async def test_what_is_cancelled_while_it_is_put_together_leaves_no_trace(self) -> None:
        async with self.open() as blobs:
            part, whole = await new_blob(blobs, random.Random(3).randbytes(4 * MIB)), await new_blob(blobs)
            task = asyncio.create_task(blobs.concatenate(whole, [part] * 100))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await blobs.length(whole) == 0
            await append(blobs, whole, 0, b"something else")
            assert self.peek(whole) == b"something else"
