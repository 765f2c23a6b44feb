"""What every blob store must do. Subclass `BlobContract` in a test module, and give it a store.

The suite also looks at the bytes behind the store's back, so that a store cannot vouch for itself.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ..blobs.base import BlobMissing, BlobStore, BlobUnavailable, OffsetConflict
from ..ids import new_upload_id

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

_MIB = 1024 * 1024
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


class BlobContract(ABC):
    """The tests. Each one works with uploads of its own, so stores may be shared."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        """Return a store over the same place every time: a second one sees what the first one left behind."""

    @abstractmethod
    def peek(self, upload_id: str) -> bytes | None:
        """Return the bytes that lie under an ID, staged or released, without asking the store; None: there are none."""

    async def test_a_created_blob_is_empty_and_staged(self) -> None:
        async with self.open() as blobs:
            upload = new_upload_id()
            await blobs.create(upload)
            assert await blobs.length(upload) == 0
            assert upload in await blobs.staged()
            assert self.peek(upload) == b""

    async def test_creating_again_keeps_the_bytes(self) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
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
        chunks = [chance.randbytes(size) for size in (1, 0, _MIB, 3, 5 * _MIB, *range(600), _MIB - 1, _MIB + 1)]
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
                await _append(blobs, upload, 0, b"x")
            with pytest.raises(BlobMissing):
                await _append(blobs, upload, 0)
            with pytest.raises(BlobMissing):
                await _append(blobs, upload, 0, bytes(3 * _MIB))
            assert self.peek(upload) is None

    @pytest.mark.parametrize("offset", [0, 4, 6, 1 << 40])
    @pytest.mark.parametrize("body", [b"", b"x", bytes(3 * _MIB)], ids=["empty", "small", "large"])
    async def test_an_append_must_begin_where_the_blob_ends(self, offset: int, body: bytes) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
            with pytest.raises(OffsetConflict) as raised:
                await _append(blobs, upload, offset, body)
            assert raised.value.length_bytes == 5
            assert self.peek(upload) == b"bytes"

    @pytest.mark.parametrize("size", [1, 3 * _MIB + 1])
    async def test_an_error_in_the_middle_keeps_what_was_written(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
            with pytest.raises(ConnectionError):
                await _append_and_fail(blobs, upload, 5, b"x" * size)
            assert self.peek(upload) == b"bytes" + b"x" * size
            assert await blobs.length(upload) == 5 + size

    @pytest.mark.parametrize("size", [1, 3 * _MIB + 1])
    async def test_a_cancellation_in_the_middle_keeps_what_was_written(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs)
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
            await _append(blobs, upload, size, b"more")
            assert self.peek(upload) == b"x" * size + b"more"

    @pytest.mark.parametrize("size", [1, 3 * _MIB + 1])
    async def test_rollback_forgets_this_context_only(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
            async with blobs.append(upload, 5) as out:
                await out.write(b"x" * size)
                await out.rollback()
                assert out.length_bytes == 5
            assert self.peek(upload) == b"bytes"
            await _append(blobs, upload, 5, b"!")
            assert self.peek(upload) == b"bytes!"

    @pytest.mark.parametrize("size", [0, 1, 3 * _MIB + 1])
    async def test_tentative_bytes_count_when_the_context_ends_well(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
            async with blobs.append(upload, 5, tentative=True) as out:
                await out.write(b"x" * size)
            assert await blobs.length(upload) == out.length_bytes == 5 + size
            assert self.peek(upload) == b"bytes" + b"x" * size

    @pytest.mark.parametrize("size", [1, 3 * _MIB + 1])
    async def test_tentative_bytes_leave_no_trace_after_an_error(self, size: int) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
            with pytest.raises(ConnectionError):
                await _append_and_fail(blobs, upload, 5, b"x" * size, tentative=True)
            assert await blobs.length(upload) == 5
            assert self.peek(upload) == b"bytes"

    @pytest.mark.parametrize("then", ["length", "append", "seal", "release"])
    @pytest.mark.parametrize("size", [1, 3 * _MIB + 1])
    async def test_tentative_bytes_leave_no_trace_after_a_crash(self, size: int, then: str) -> None:
        async with self.open() as dying:
            upload = await _blob(dying, b"bytes")
            out = await dying.append(upload, 5, tentative=True).__aenter__()
            await out.write(b"x" * size)
            # And here the process dies: the context is never left.
        async with self.open() as blobs:
            assert await blobs.length(upload) == 5
            if then == "append":
                await _append(blobs, upload, 5, b"!")
                assert self.peek(upload) == b"bytes!"
            elif then != "length":
                assert await blobs.seal(upload) == 5
                assert self.peek(upload) == b"bytes"
            if then == "release":
                await blobs.release(upload)
                assert await _read(blobs, upload) == b"bytes"

    async def test_blobs_are_put_together_in_their_order(self) -> None:
        one, two, released = random.Random(1).randbytes(5 * _MIB + 1), b"two", b"released"
        async with self.open() as blobs:
            parts = [await _blob(blobs, body) for body in (one, two, b"", released)]
            await blobs.seal(parts[3])
            await blobs.release(parts[3])
            await blobs.unstage(parts[3])
            whole = await _blob(blobs)
            assert await blobs.concatenate(whole, [*parts, parts[1]]) == len(one + two + released + two)
        async with self.open() as blobs:
            assert self.peek(whole) == one + two + released + two
            assert await blobs.length(whole) == len(one + two + released + two)
            assert [self.peek(part) for part in parts] == [one, two, b"", released]
            assert await blobs.seal(whole) == len(one + two + released + two)
            for part in parts:
                await blobs.discard(part)
            assert await _read(blobs, whole) == one + two + released + two

    async def test_putting_together_again_replaces_what_was_there(self) -> None:
        async with self.open() as blobs:
            part, whole = await _blob(blobs, b"part"), await _blob(blobs, b"something longer than it")
            for _ in range(2):
                assert await blobs.concatenate(whole, [part, part]) == 8
                assert self.peek(whole) == b"partpart"
            assert await blobs.concatenate(whole, []) == 0
            assert self.peek(whole) == b""

    async def test_nothing_is_put_together_when_a_source_is_missing(self) -> None:
        async with self.open() as blobs:
            part, whole = await _blob(blobs, random.Random(2).randbytes(_MIB)), await _blob(blobs)
            with pytest.raises(BlobMissing):
                await blobs.concatenate(whole, [part, new_upload_id(), part])
            assert await blobs.length(whole) == 0
            with pytest.raises(BlobMissing):
                await blobs.concatenate(new_upload_id(), [part])
            assert await blobs.concatenate(whole, [part]) == _MIB

    async def test_what_is_cancelled_while_it_is_put_together_leaves_no_trace(self) -> None:
        async with self.open() as blobs:
            part, whole = await _blob(blobs, random.Random(3).randbytes(4 * _MIB)), await _blob(blobs)
            task = asyncio.create_task(blobs.concatenate(whole, [part] * 100))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await blobs.length(whole) == 0
            await _append(blobs, whole, 0, b"something else")
            assert self.peek(whole) == b"something else"

    async def test_sealing_inside_an_append_keeps_everything(self) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs)
            for tentative in (False, True):
                offset = await blobs.length(upload)
                async with blobs.append(upload, offset, tentative=tentative) as out:
                    await out.write(bytes(2 * _MIB + 1))
                    await out.seal()
                assert out.length_bytes == offset + 2 * _MIB + 1
            assert await blobs.seal(upload) == await blobs.length(upload) == 4 * _MIB + 2

    async def test_sealing_needs_a_blob(self) -> None:
        async with self.open() as blobs:
            with pytest.raises(BlobMissing):
                await blobs.seal(new_upload_id())

    async def test_a_released_blob_is_read_but_no_longer_staged(self) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
            await blobs.seal(upload)
            await blobs.release(upload)
            assert await _read(blobs, upload) == b"bytes"
            await blobs.unstage(upload)
            assert upload not in await blobs.staged()
            assert await _read(blobs, upload) == b"bytes"
            assert await _read(blobs, upload, 1, 3) == b"yt"
            assert await blobs.length(upload) == 5
            assert self.peek(upload) == b"bytes"
            with pytest.raises(BlobMissing):
                await _append(blobs, upload, 5, b"late")

    async def test_releasing_twice_is_releasing_once(self) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
            await blobs.release(upload)
            await blobs.release(upload)
            assert await _read(blobs, upload) == b"bytes"

    @pytest.mark.parametrize("size", [0, 1, 3 * _MIB + 1, 9 * _MIB])
    async def test_a_release_that_is_interrupted_is_done_again(self, size: int) -> None:
        body = random.Random(size).randbytes(size)
        async with self.open() as dying:
            upload = await _blob(dying, body)
            await dying.release(upload)
            # And here the process dies: what is staged was not removed.
        async with self.open() as blobs:
            for _ in range(2):
                await blobs.release(upload)
                await blobs.unstage(upload)
                assert upload not in await blobs.staged()
                assert self.peek(upload) == body
                assert await blobs.length(upload) == size
                assert await _read(blobs, upload) == body

    async def test_what_is_not_released_stays_staged(self) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
            with suppress(BlobUnavailable):  # a store may notice
                await blobs.unstage(upload)
            assert upload in await blobs.staged()
            assert self.peek(upload) == b"bytes"

    async def test_what_is_staged_beside_a_released_blob_goes(self) -> None:
        body = random.Random(6).randbytes(_MIB + 1)
        async with self.open() as blobs:
            upload = await _blob(blobs, body)
            await blobs.seal(upload)
            await blobs.release(upload)  # and here the process dies: what is staged was not removed
            for late in (False, True):
                if late:
                    await blobs.create(upload)  # a request that comes too late makes it anew
                before = await blobs.staged()
                await blobs.put_right(upload, len(body), dry_run=True)
                assert await blobs.staged() == before
                await blobs.put_right(upload, len(body))
                assert upload not in await blobs.staged()
                assert self.peek(upload) == body
                assert await _read(blobs, upload) == body

    async def test_a_release_that_was_undone_is_done_again(self) -> None:
        body = random.Random(7).randbytes(_MIB + 1)
        async with self.open() as blobs:
            upload = await _blob(blobs, body)
            await blobs.seal(upload)
            await blobs.put_right(upload, len(body), dry_run=True)
            assert upload in await blobs.staged()
            await blobs.put_right(upload, len(body))
            assert upload not in await blobs.staged()
            assert self.peek(upload) == body
            assert await _read(blobs, upload) == body

    @pytest.mark.parametrize("dry_run", [True, False])
    async def test_what_is_not_as_it_was_released_is_left_alone(self, *, dry_run: bool) -> None:
        async with self.open() as blobs:
            staged, released = await _blob(blobs, b"bytes"), await _blob(blobs, b"bytes")
            await blobs.seal(released)
            await blobs.release(released)
            await blobs.unstage(released)
            for upload in (staged, released):
                with pytest.raises((BlobUnavailable, BlobMissing)):
                    await blobs.put_right(upload, 6, dry_run=dry_run)
                assert self.peek(upload) == b"bytes"
            assert staged in await blobs.staged()
            with pytest.raises(BlobMissing):
                await blobs.put_right(new_upload_id(), 0, dry_run=dry_run)

    async def test_what_is_staged_can_be_removed_alone(self) -> None:
        async with self.open() as blobs:
            staged, released = await _blob(blobs, b"staged"), await _blob(blobs, b"released")
            await blobs.seal(released)
            await blobs.release(released)
            await blobs.unstage(released)
            await blobs.create(released)
            for upload in (staged, released, new_upload_id()):
                await blobs.discard(upload, only_staged=True)
                assert upload not in await blobs.staged()
            assert self.peek(staged) is None
            assert self.peek(released) == b"released"

    async def test_parts_of_a_released_blob_are_read(self) -> None:
        body = random.Random(2).randbytes(2 * _MIB + 77)
        async with self.open() as blobs:
            upload = await _blob(blobs, body)
            await blobs.release(upload)
            await blobs.unstage(upload)
            for start, stop in [(0, None), (5, None), (0, 1), (7, 7), (_MIB - 1, _MIB + 1), (len(body) - 1, None)]:
                assert await _read(blobs, upload, start, stop) == body[start:stop]
            assert await _read(blobs, upload, 3, len(body) + 100) == body[3:]
            assert await _read(blobs, upload, len(body)) == b""
            assert await _read(blobs, upload, len(body) + 1) == b""
            assert max([len(piece) async for piece in blobs.read(upload)]) <= _MIB

    async def test_releasing_needs_a_blob(self) -> None:
        async with self.open() as blobs:
            with pytest.raises(BlobMissing):
                await blobs.release(new_upload_id())

    async def test_discarding_removes_staged_and_released_bytes(self) -> None:
        async with self.open() as blobs:
            staged, released = await _blob(blobs, b"a"), await _blob(blobs, b"b")
            await blobs.release(released)
            for upload in (staged, released, new_upload_id()):
                await blobs.discard(upload)
                await blobs.discard(upload)
                assert self.peek(upload) is None
                assert upload not in await blobs.staged()
                with pytest.raises(BlobMissing):
                    await blobs.length(upload)
                with pytest.raises(BlobMissing):
                    await _read(blobs, upload)

    async def test_discarding_during_an_append_does_not_bring_the_blob_back(self) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, b"bytes")
            try:
                async with blobs.append(upload, 5) as out:
                    await out.write(bytes(3 * _MIB))
                    await blobs.discard(upload)
            except BlobMissing:
                pass  # a store may notice
            with pytest.raises(BlobMissing):
                await blobs.length(upload)
            assert self.peek(upload) is None

    async def test_parts_are_read(self) -> None:
        body = random.Random(1).randbytes(2 * _MIB + 77)
        async with self.open() as blobs:
            upload = await _blob(blobs, body)
            for start, stop in [(0, None), (5, None), (0, 1), (7, 7), (_MIB - 1, _MIB + 1), (len(body) - 1, None)]:
                assert await _read(blobs, upload, start, stop) == body[start:stop]
            assert await _read(blobs, upload, 3, len(body) + 100) == body[3:]
            assert await _read(blobs, upload, len(body) + 1) == b""

    async def test_pieces_are_bounded(self) -> None:
        async with self.open() as blobs:
            upload = await _blob(blobs, bytes(5 * _MIB))
            assert max([len(piece) async for piece in blobs.read(upload)]) <= _MIB

    async def test_uploads_do_not_touch_each_other(self) -> None:
        async with self.open() as blobs:
            uploads = [await _blob(blobs) for _ in range(8)]

            async def fill(number: int) -> None:
                for offset in range(0, 40, 4):
                    await _append(blobs, uploads[number], offset, b"%d   " % number)

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
                _append(blobs, name, 0, b"x"),
                _read(blobs, name),
                blobs.discard(name),
            ):
                with pytest.raises(BlobMissing):
                    await attempt


async def _blob(blobs: BlobStore, body: bytes = b"") -> str:
    upload = new_upload_id()
    await blobs.create(upload)
    await _append(blobs, upload, 0, body)
    return upload


async def _append(blobs: BlobStore, upload: str, offset: int, body: bytes = b"") -> None:
    async with blobs.append(upload, offset) as out:
        if body:
            await out.write(body)


async def _append_and_fail(blobs: BlobStore, upload: str, offset: int, body: bytes, *, tentative: bool = False) -> None:
    async with blobs.append(upload, offset, tentative=tentative) as out:
        await out.write(body)
        assert out.length_bytes == offset + len(body)
        raise ConnectionError


async def _read(blobs: BlobStore, upload: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([piece async for piece in blobs.read(upload, start=start, stop=stop)])
