"""What becomes of a blob that has all of its bytes: sealed, released, discarded."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from ...blobs.base import BlobMissing, BlobUnavailable
from ...ids import new_upload_id
from .opening import MIB, OpensBlobs, append, new_blob, read


class Ending(OpensBlobs):
    """A blob at its end."""

    async def test_sealing_inside_an_append_keeps_everything(self) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs)
            for tentative in (False, True):
                offset = await blobs.length(upload)
                async with blobs.append(upload, offset, tentative=tentative) as out:
                    await out.write(bytes(2 * MIB + 1))
                    await out.seal()
                assert out.length_bytes == offset + 2 * MIB + 1
            assert await blobs.seal(upload) == await blobs.length(upload) == 4 * MIB + 2

    async def test_sealing_needs_a_blob(self) -> None:
        async with self.open() as blobs:
            with pytest.raises(BlobMissing):
                await blobs.seal(new_upload_id())

    async def test_a_released_blob_is_read_but_no_longer_staged(self) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            await blobs.seal(upload)
            await blobs.release(upload)
            assert await read(blobs, upload) == b"bytes"
            await blobs.unstage(upload)
            assert upload not in await blobs.staged()
            assert await read(blobs, upload) == b"bytes"
            assert await read(blobs, upload, 1, 3) == b"yt"
            assert await blobs.length(upload) == 5
            assert self.peek(upload) == b"bytes"
            with pytest.raises(BlobMissing):
                await append(blobs, upload, 5, b"late")

    async def test_releasing_twice_is_releasing_once(self) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            await blobs.release(upload)
            await blobs.release(upload)
            assert await read(blobs, upload) == b"bytes"

    @pytest.mark.parametrize("size", [0, 1, 3 * MIB + 1, 9 * MIB])
    async def test_a_release_that_is_interrupted_is_done_again(self, size: int) -> None:
        body = random.Random(size).randbytes(size)
        async with self.open() as dying:
            upload = await new_blob(dying, body)
            await dying.release(upload)
            # And here the process dies: what is staged was not removed.
        async with self.open() as blobs:
            for _ in range(2):
                await blobs.release(upload)
                await blobs.unstage(upload)
                assert upload not in await blobs.staged()
                assert self.peek(upload) == body
                assert await blobs.length(upload) == size
                assert await read(blobs, upload) == body

    async def test_what_is_not_released_stays_staged(self) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            with suppress(BlobUnavailable):  # a store may notice
                await blobs.unstage(upload)
            assert upload in await blobs.staged()
            assert self.peek(upload) == b"bytes"

    async def test_what_is_staged_beside_a_released_blob_goes(self) -> None:
        body = random.Random(6).randbytes(MIB + 1)
        async with self.open() as blobs:
            upload = await new_blob(blobs, body)
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
                assert await read(blobs, upload) == body

    async def test_a_release_that_was_undone_is_done_again(self) -> None:
        body = random.Random(7).randbytes(MIB + 1)
        async with self.open() as blobs:
            upload = await new_blob(blobs, body)
            await blobs.seal(upload)
            await blobs.put_right(upload, len(body), dry_run=True)
            assert upload in await blobs.staged()
            await blobs.put_right(upload, len(body))
            assert upload not in await blobs.staged()
            assert self.peek(upload) == body
            assert await read(blobs, upload) == body

    async def test_a_release_that_has_come_to_something_else_is_done_again(self) -> None:
        """Of two lengths, it is the right one that is kept, though it is not the one in the final place."""
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            await blobs.seal(upload)
            await blobs.release(upload)
            await blobs.unstage(upload)
            await blobs.create(upload)
            await append(blobs, upload, 0, b"others")
            await blobs.seal(upload)
            await blobs.put_right(upload, 6, dry_run=True)
            assert upload in await blobs.staged()
            await blobs.put_right(upload, 6)
            assert upload not in await blobs.staged()
            assert self.peek(upload) == b"others"
            assert await read(blobs, upload) == b"others"

    async def test_what_is_not_to_be_released_after_all_is_staged_as_before(self) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            await blobs.seal(upload)
            for _ in range(2):
                await blobs.release(upload)
                for _ in range(2):
                    await blobs.withdraw(upload, 5)
                    assert await read(blobs, upload) == b"bytes"
            await blobs.release(upload)
            await blobs.unstage(upload)
            assert self.peek(upload) == await read(blobs, upload) == b"bytes"

    async def test_the_only_copy_is_never_withdrawn(self) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            await blobs.seal(upload)
            await blobs.release(upload)
            await blobs.unstage(upload)
            with suppress(BlobMissing):  # a store may notice
                await blobs.withdraw(upload, 5)
            assert self.peek(upload) == b"bytes"
            await blobs.create(upload)  # a request that comes too late makes it anew
            with suppress(BlobUnavailable):
                await blobs.withdraw(upload, 5)
            await blobs.discard(upload, only_staged=True)
            assert self.peek(upload) == b"bytes"

    @pytest.mark.parametrize("dry_run", [True, False])
    async def test_what_is_not_as_it_was_released_is_left_alone(self, *, dry_run: bool) -> None:
        async with self.open() as blobs:
            staged, released = await new_blob(blobs, b"bytes"), await new_blob(blobs, b"bytes")
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
            staged, released = await new_blob(blobs, b"staged"), await new_blob(blobs, b"released")
            await blobs.seal(released)
            await blobs.release(released)
            await blobs.unstage(released)
            await blobs.create(released)
            for upload in (staged, released, new_upload_id()):
                await blobs.discard(upload, only_staged=True)
                assert upload not in await blobs.staged()
            assert self.peek(staged) is None
            assert self.peek(released) == b"released"

    async def test_releasing_needs_a_blob(self) -> None:
        async with self.open() as blobs:
            with pytest.raises(BlobMissing):
                await blobs.release(new_upload_id())

    async def test_discarding_removes_staged_and_released_bytes(self) -> None:
        async with self.open() as blobs:
            staged, released = await new_blob(blobs, b"a"), await new_blob(blobs, b"b")
            await blobs.release(released)
            for upload in (staged, released, new_upload_id()):
                await blobs.discard(upload)
                await blobs.discard(upload)
                assert self.peek(upload) is None
                assert upload not in await blobs.staged()
                with pytest.raises(BlobMissing):
                    await blobs.length(upload)
                with pytest.raises(BlobMissing):
                    await read(blobs, upload)

    async def test_discarding_during_an_append_does_not_bring_the_blob_back(self) -> None:
        async with self.open() as blobs:
            upload = await new_blob(blobs, b"bytes")
            try:
                async with blobs.append(upload, 5) as out:
                    await out.write(bytes(3 * MIB))
                    await blobs.discard(upload)
            except BlobMissing:
                pass  # a store may notice
            with pytest.raises(BlobMissing):
                await blobs.length(upload)
            assert self.peek(upload) is None
