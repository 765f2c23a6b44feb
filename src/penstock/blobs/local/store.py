"""Keeps the bytes of uploads in files of this machine, or of a volume that it shares with others.

Needs a folder on a file system that keeps its promises about `fsync` and `rename`, and leaves behind what `Tree` shows.
The length of a staged file is the offset of its upload: nothing else has to be written for each chunk.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from ..base import BlobStore, SupportsPath
from ..endings import to_the_end
from ..inventory import Found, SupportsInventory
from .appender import LocalAppender
from .concatenation import Concatenation
from .inventory import folders_of, look_into, remove_as_found
from .staged import StagedFile, marked_length, settle
from .tree import FILE_MODE, RELEASED, STAGED, Tree, errors_about, remove, sync_folder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

T = TypeVar("T")

PIECE_BYTES: Final = 256 * 1024
"""The most that is read at once."""
_THREADS: Final = 16
"""Enough that some large files being forced to disk do not hold up the rest."""


class LocalBlobs(BlobStore, SupportsPath, SupportsInventory):
    """Files in a folder; see the module's description."""

    def __init__(self, root: Path, *, threads: int = _THREADS) -> None:
        """`root` is made if it is not there; `threads` wait for the disk at the same time."""
        self._tree = Tree(root)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="blobs")

    async def __aenter__(self) -> Self:
        await self._run(self._tree.prepare)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self._pool.shutdown)

    async def create(self, upload_id: str) -> None:
        """Begin an empty staged file."""
        await to_the_end(self._run(self._create, upload_id))

    async def length(self, upload_id: str) -> int:
        """Return how many bytes count."""
        return await self._run(self._length, upload_id)

    def append(self, upload_id: str, offset: int, *, tentative: bool = False) -> LocalAppender:
        """Open a staged file for more bytes."""
        return LocalAppender(
            StagedFile(self._tree, upload_id, offset, tentative=tentative), self._run, tentative=tentative
        )

    async def concatenate(self, upload_id: str, sources: Sequence[str]) -> int:
        """Put files together; nothing is copied where the file system can share what they hold."""
        work = Concatenation(self._tree, upload_id, sources, self._open)
        keep = False
        try:
            await to_the_end(self._run(work.begin))
            while await to_the_end(self._run(work.advance)):
                pass
            keep = True
        finally:
            await to_the_end(self._run(lambda: work.finish(keep=keep)))
        return work.length_bytes

    async def seal(self, upload_id: str) -> int:
        """Force a staged file and its folder entry to disk."""
        return await to_the_end(self._run(self._seal, upload_id))

    async def release(self, upload_id: str) -> None:
        """Move a file to the released ones."""
        await to_the_end(self._run(self._release, upload_id))

    async def unstage(self, upload_id: str) -> None:
        """Do nothing: a file that is released was moved, and is staged no more."""

    async def discard(self, upload_id: str) -> None:
        """Remove a file, staged or released."""
        await to_the_end(self._run(self._discard, upload_id))

    async def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file."""
        descriptor = await self._opened(upload_id)
        try:
            while stop is None or start < stop:
                size = PIECE_BYTES if stop is None else min(PIECE_BYTES, stop - start)
                piece = await to_the_end(self._run(self._read, upload_id, descriptor, size, start))
                if not piece:
                    return
                start += len(piece)
                yield piece
        finally:
            os.close(descriptor)  # nothing was written, so there is nothing to wait for

    async def staged(self) -> list[str]:
        """Return the IDs of all staged files."""
        return await self._run(self._tree.staged_ids)

    async def inventory(self) -> AsyncGenerator[Sequence[Found], None]:
        """Yield what lies in each folder."""
        for stage, folder in folders_of(self._tree):
            if found := await self._run(look_into, stage, folder):
                yield found

    async def remove_found(self, found: Found) -> bool:
        """Remove one file."""
        return await to_the_end(self._run(remove_as_found, found))

    async def free_bytes(self) -> int:
        """Return how much room the file system has for this user."""
        return await self._run(self._tree.free_bytes)

    def path(self, upload_id: str) -> Path:
        """Return where a file is right now."""
        with errors_about(upload_id):
            return self._wherever(upload_id, lambda path: (os.stat(path), Path(path))[1])

    def _run(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def _create(self, upload_id: str) -> None:
        with errors_about(upload_id):
            os.close(os.open(self._tree.staged(upload_id), os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, FILE_MODE))

    def _length(self, upload_id: str) -> int:
        with errors_about(upload_id):
            length = self._wherever(upload_id, os.stat).st_size
            marked = marked_length(self._tree, upload_id)
            return length if marked is None else min(length, marked)

    def _seal(self, upload_id: str) -> int:
        with errors_about(upload_id):
            descriptor = os.open(self._tree.staged(upload_id), os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                length = settle(self._tree, upload_id, descriptor)
            finally:
                os.close(descriptor)
        StagedFile(self._tree, upload_id, length, tentative=False).finish([], keep=True, sync=True)
        return length

    def _release(self, upload_id: str) -> None:
        with errors_about(upload_id):
            try:
                os.rename(self._tree.staged(upload_id), self._tree.released(upload_id))
            except FileNotFoundError:
                if not os.path.exists(self._tree.released(upload_id)):
                    raise
            # Also when it was there: the crash that makes somebody ask again may have come before this.
            sync_folder(self._tree.folder(RELEASED, upload_id))
            sync_folder(self._tree.folder(STAGED, upload_id))

    def _discard(self, upload_id: str) -> None:
        with errors_about(upload_id):
            for path in (self._tree.staged(upload_id), self._tree.released(upload_id), self._tree.mark(upload_id)):
                remove(path)

    async def _opened(self, upload_id: str) -> int:
        opening = self._run(self._open, upload_id)
        try:
            return await to_the_end(opening)
        except asyncio.CancelledError:
            if opening.exception() is None:
                os.close(opening.result())
            raise

    def _open(self, upload_id: str) -> int:
        with errors_about(upload_id):
            return self._wherever(upload_id, lambda path: os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))

    def _wherever(self, upload_id: str, look: Callable[[str], T]) -> T:
        """Look at a file where it is staged, else where it is released: it moves in this direction only."""
        try:
            return look(self._tree.staged(upload_id))
        except FileNotFoundError:
            return look(self._tree.released(upload_id))

    def _read(self, upload_id: str, descriptor: int, size: int, start: int) -> bytes:
        with errors_about(upload_id):
            return os.pread(descriptor, size, start)
