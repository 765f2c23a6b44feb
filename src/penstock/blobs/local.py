"""Bytes in a folder of this machine, or on a volume that several machines mount.

Needs a POSIX file system with atomic renames. Leaves behind: `staging/<upload ID>` while an upload is held back, and
`released/<first two digits>/<upload ID>` from its release on. Both must be on one volume; a release is a rename.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, TypeVar

from ..ids import is_upload_id
from .base import BlobMissing, BlobStore, BlobUnavailable, OffsetConflict, StorageFull

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

T = TypeVar("T")

_THREADS = 8
_BUFFER_BYTES = 1024 * 1024
"""What one append collects before it goes to a thread: a hop costs as much as writing some 100 KiB."""
_PIECE_BYTES = 256 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalBlobs(BlobStore):
    """Keeps each upload in a file of its own below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.staging = root / "staging"
        """Where bytes are held back; steps on this machine read them there."""
        self._released = root / "released"
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="penstock-blobs")

    async def __aenter__(self) -> Self:
        """Make the folders that are missing.

        Raises:
            BlobUnavailable: the folder cannot be written.
        """
        await self._run(self._open)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._threads.shutdown(wait=True)

    async def create(self, upload_id: str) -> None:
        """Begin an empty file and flush its folder, so that a crash does not forget it."""
        await self._run(self._create, upload_id)

    async def length(self, upload_id: str) -> int:
        """Return the file's length."""
        return (await self._run(self.path, upload_id)).stat().st_size

    @asynccontextmanager
    async def append(self, upload_id: str, offset: int) -> AsyncIterator[_FileAppender]:
        """Open the staged file at its end."""
        descriptor = await self._run(self._open_for_append, upload_id, offset)
        appender = _FileAppender(self, descriptor, offset)
        try:
            yield appender
        finally:
            try:
                await appender.flush()
            finally:
                await self._run(os.close, descriptor)

    async def seal(self, upload_id: str) -> int:
        """Flush the file and its folder."""
        return await self._run(self._seal, upload_id)

    async def release(self, upload_id: str) -> None:
        """Rename the staged file into its final folder and flush both folders."""
        await self._run(self._release, upload_id)

    async def discard(self, upload_id: str) -> None:
        """Remove the file, wherever it is."""
        await self._run(self._discard, upload_id)

    async def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield pieces of at most 256 KiB. A file that is removed meanwhile is read to its end all the same."""
        descriptor = await self._run(lambda: os.open(self.path(upload_id), os.O_RDONLY | os.O_CLOEXEC))
        try:
            while stop is None or start < stop:
                wanted = _PIECE_BYTES if stop is None else min(_PIECE_BYTES, stop - start)
                piece = await self._run(os.pread, descriptor, wanted, start)
                if not piece:
                    return
                start += len(piece)
                yield piece
        finally:
            os.close(descriptor)

    async def staged(self) -> list[str]:
        """Return the names of the staged files."""
        return await self._run(lambda: sorted(name for name in os.listdir(self.staging) if is_upload_id(name)))

    async def free_bytes(self) -> int | None:
        """Return what the volume has left for us."""
        return (await self._run(shutil.disk_usage, self._root)).free

    def path(self, upload_id: str) -> Path:
        """Return the file's place right now."""
        for path in (self._staged(upload_id), self._final(upload_id)):
            if path.exists():
                return path
        raise BlobMissing(f"no bytes are kept for upload {upload_id}")

    # What follows runs in threads.

    def _open(self) -> None:
        self.staging.mkdir(parents=True, exist_ok=True)
        self._released.mkdir(parents=True, exist_ok=True)
        _flush_folder(self._root)
        if not os.access(self.staging, os.W_OK) or not os.access(self._released, os.W_OK):
            raise BlobUnavailable(f"{self._root}: not writable. Give its owner's rights to the user who runs Penstock.")

    def _staged(self, upload_id: str) -> Path:
        if not is_upload_id(upload_id):
            raise BlobMissing(f"{upload_id!r} is no upload ID")
        return self.staging / upload_id

    def _final(self, upload_id: str) -> Path:
        return self._released / upload_id[:2] / upload_id

    def _create(self, upload_id: str) -> None:
        os.close(os.open(self._staged(upload_id), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640))
        _flush_folder(self.staging)

    def _open_for_append(self, upload_id: str, offset: int) -> int:
        try:
            descriptor = os.open(self._staged(upload_id), os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise BlobMissing(f"no bytes are staged for upload {upload_id}") from error
        length_bytes = os.fstat(descriptor).st_size
        if length_bytes != offset:
            os.close(descriptor)
            raise OffsetConflict(upload_id, offset=offset, length_bytes=length_bytes)
        os.lseek(descriptor, offset, os.SEEK_SET)
        return descriptor

    def _seal(self, upload_id: str) -> int:
        try:
            descriptor = os.open(self._staged(upload_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise BlobMissing(f"no bytes are staged for upload {upload_id}") from error
        try:
            os.fsync(descriptor)
            length_bytes = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        _flush_folder(self.staging)
        return length_bytes

    def _release(self, upload_id: str) -> None:
        staged, final = self._staged(upload_id), self._final(upload_id)
        if not final.parent.exists():
            final.parent.mkdir(exist_ok=True)
            _flush_folder(self._released)
        try:
            staged.rename(final)
        except FileNotFoundError as error:
            if not final.exists():
                raise BlobMissing(f"no bytes are kept for upload {upload_id}") from error
        _flush_folder(final.parent)
        _flush_folder(self.staging)

    def _discard(self, upload_id: str) -> None:
        for path in (self._staged(upload_id), self._final(upload_id)):
            path.unlink(missing_ok=True)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        """Run `work` in a thread and wait for its end, also when we are cancelled meanwhile."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await asyncio.wait({future})
            raise
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull(f"{self._root}: no space left. Free some, or wait, then continue.") from error
            raise BlobUnavailable(f"{error.filename or self._root}: {error.strerror}") from error


class _FileAppender:
    """Collects chunks and writes them in large pieces."""

    def __init__(self, blobs: LocalBlobs, descriptor: int, begin: int) -> None:
        self._blobs = blobs
        self._descriptor = descriptor
        self._begin = begin
        self._chunks: list[bytes] = []
        self._buffered = 0

    async def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._buffered >= _BUFFER_BYTES:
            await self.flush()

    async def rollback(self) -> None:
        self._chunks, self._buffered = [], 0
        await self._blobs._run(os.ftruncate, self._descriptor, self._begin)
        await self._blobs._run(os.lseek, self._descriptor, self._begin, os.SEEK_SET)

    async def flush(self) -> None:
        if self._chunks:
            chunks, self._chunks, self._buffered = self._chunks, [], 0
            await self._blobs._run(_write_all, self._descriptor, chunks)


def _write_all(descriptor: int, chunks: list[bytes]) -> None:
    """Write everything, or as much as fits."""
    for chunk in chunks:
        left = memoryview(chunk)
        while left:
            left = left[os.write(descriptor, left) :]


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
