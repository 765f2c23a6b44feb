"""Keeps the bytes of uploads in files of this machine, or of a volume that it shares with others.

Needs a folder on a file system that keeps its promises about `fsync` and `rename`, and leaves behind what `Tree` shows.
The length of a staged file is the offset of its upload: nothing else has to be written for each chunk.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ...threads import to_the_end
from ..base import BlobStore, BlobUnavailable, SupportsPath, not_as_released
from ..inventory import Found, SupportsInventory
from ..sharing import SupportsFences
from .appender import LocalAppender
from .concatenation import Concatenation
from .crew import Crew
from .inventory import folders_of, look_into, remove_as_found
from .pieces import Piece, Pieces, remove_all
from .places import Places
from .reading import Reading
from .sharing import Sharing
from .staged import StagedFile, settle
from .tree import FILE_MODE, RELEASED, STAGED, Tree, errors_about, remove, sync_folder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

_THREADS: Final = 16
"""Enough that some large files being forced to disk do not hold up the rest."""


class LocalBlobs(BlobStore, SupportsPath, SupportsInventory, SupportsFences):
    """Files in a folder; see the module's description."""

    def __init__(self, root: Path, *, threads: int = _THREADS, fenced: bool = False, releases: bool = True) -> None:
        """Use a folder.

        Args:
            root: is made if it is not there.
            threads: so many wait for the disk at the same time.
            fenced: whether other processes work in it, so that there may be fences (`pieces`).
            releases: whether files are released into it; else what was before is read, and no more comes.
        """
        self._tree = Tree(root)
        self._fenced = fenced
        self._releases = releases
        self._crew = Crew(threads, "blobs")
        self._run = self._crew.run
        self._sharing = Sharing()
        self._places = Places(self._tree, fenced=fenced)
        self._reading = Reading(self._places, self._crew)

    async def __aenter__(self) -> Self:
        await self._run(lambda: self._tree.prepare(releases=self._releases))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self._crew.close)

    async def create(self, upload_id: str, then: Callable[[], None] | None = None) -> None:
        """Begin an empty staged file, and go on in the same hop."""
        await to_the_end(self._run(self._create, upload_id, then))

    async def length(self, upload_id: str) -> int:
        """Return how many bytes count."""
        return await self._run(self._length, upload_id)

    def append(self, upload_id: str, offset: int, *, tentative: bool = False) -> LocalAppender:
        """Open a staged file for more bytes."""
        file = self._staged_file(upload_id, offset, tentative=tentative)
        return LocalAppender(file, self._run, self._sharing, tentative=tentative)

    def append_confirmed(
        self, upload_id: str, offset: int, *, tentative: bool = False, confirm: Callable[[int], Awaitable[None]]
    ) -> LocalAppender:
        """Open the last of the files of an upload for more bytes."""
        return LocalAppender(
            self._staged_file(upload_id, offset, tentative=tentative),
            self._run,
            self._sharing,
            tentative=tentative,
            confirm=confirm,
            put_together=lambda: self._put_together(upload_id),
        )

    def _staged_file(self, upload_id: str, offset: int, *, tentative: bool) -> StagedFile:
        find = (lambda: self._places.last(upload_id)) if self._fenced else None
        return StagedFile(self._tree, upload_id, offset, tentative=tentative, find=find)

    async def fence(
        self, upload_id: str, kept_bytes: int | None, size_bytes: int | None, confirm: Callable[[], Awaitable[None]]
    ) -> None:
        """Have the upload go on in another file."""
        pieces, length = await to_the_end(self._run(self._survey, upload_id, kept_bytes))
        if length == size_bytes:
            return
        await confirm()
        if not await to_the_end(self._run(self._fence, upload_id, pieces, length)):
            raise BlobUnavailable(f"upload {upload_id}: another process has taken it over. Ask for the offset again.")

    async def flushed(self, upload_id: str) -> int:
        """Force the last of the files of an upload to disk; the others are."""
        return await self._run(self._flush, upload_id)

    async def concatenate(self, upload_id: str, sources: Sequence[str]) -> int:
        """Put files together; nothing is copied where the file system can share what they hold."""
        if self._fenced:
            return await self._concatenate_fenced(upload_id, sources)
        return await self._copied(self._concatenation(upload_id, sources))

    async def _concatenate_fenced(self, upload_id: str, sources: Sequence[str]) -> int:
        for source in set(sources):
            await to_the_end(self._run(self._put_together, source))
        pieces, whole = await to_the_end(self._run(self._begin_whole, upload_id))
        try:
            length = await self._copied(self._concatenation(upload_id, sources, whole))
        except BaseException:
            await to_the_end(self._run(remove, whole.path))
            raise
        if not await to_the_end(self._run(self._end_whole, upload_id, pieces, whole)):
            raise BlobUnavailable(f"upload {upload_id}: another process has put it together. Ask for it again.")
        return length

    def _concatenation(self, upload_id: str, sources: Sequence[str], piece: Piece | None = None) -> Concatenation:
        return Concatenation(self._tree, upload_id, sources, self._places.open, self._places.last, piece)

    async def _copied(self, work: Concatenation) -> int:
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

    async def withdraw(self, upload_id: str, size_bytes: int) -> None:
        """Do nothing: what was moved is the only one, in a folder that nobody reads but through us."""

    async def put_right(self, upload_id: str, size_bytes: int, *, dry_run: bool = False) -> None:
        """Remove what is staged beside a released file; move it there if there is none."""
        await to_the_end(self._run(lambda: self._put_right(upload_id, size_bytes, dry_run=dry_run)))

    async def discard(self, upload_id: str, *, only_staged: bool = False) -> None:
        """Remove a file, staged or released."""
        await to_the_end(self._run(lambda: self._discard(upload_id, only_staged=only_staged)))

    def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file, in whichever files they are."""
        return self._reading.read(upload_id, start, stop)

    async def staged(self) -> list[str]:
        """Return the IDs of all staged files."""
        return await self._run(self._tree.staged_ids)

    async def inventory(self) -> AsyncGenerator[Sequence[Found], None]:
        """Yield what lies in each folder; one that cannot be looked into holds up no other."""
        failure: BlobUnavailable | None = None
        for stage, folder in folders_of(self._tree):
            try:
                found = await self._run(look_into, self._tree, stage, folder)
            except BlobUnavailable as error:
                failure = failure or error
                continue
            if found:
                yield found
        if failure is not None:
            raise failure

    async def remove_found(self, found: Found) -> bool:
        """Remove one file, or all that are staged of one upload."""
        return await to_the_end(self._run(remove_as_found, self._tree, found))

    async def free_bytes(self) -> int:
        """Return how much room the file system has for this user."""
        return await self._run(self._tree.free_bytes)

    def path(self, upload_id: str) -> Path:
        """Return where a file is right now."""
        with errors_about(upload_id):
            return self._places.wherever(upload_id, lambda path: (os.stat(path), Path(path))[1])

    def _create(self, upload_id: str, then: Callable[[], None] | None) -> None:
        with errors_about(upload_id):
            os.close(os.open(self._tree.staged(upload_id), os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, FILE_MODE))
        if then is not None:
            then()

    def _length(self, upload_id: str) -> int:
        with errors_about(upload_id):
            if self._fenced:
                return self._length_by_opening(upload_id)
            length = self._places.wherever(upload_id, os.stat).st_size
            marked = Piece(self._tree.staged(upload_id)).marked()
            return length if marked is None else min(length, marked)

    def _length_by_opening(self, upload_id: str) -> int:
        """Return what counts; a volume in the network tells the truth about a file to those who open it."""
        try:
            return Pieces(self._tree, upload_id).length()
        except FileNotFoundError:
            return os.stat(self._tree.released(upload_id)).st_size

    def _seal(self, upload_id: str) -> int:
        self._put_together(upload_id)
        with errors_about(upload_id):
            piece = self._places.last(upload_id)
            try:
                descriptor = os.open(piece.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:  # whoever released it has sealed it before
                return os.stat(self._tree.released(upload_id)).st_size
            try:
                length = settle(piece, descriptor)
            finally:
                os.close(descriptor)
        StagedFile(self._tree, upload_id, length, tentative=False, piece=piece).finish([], keep=True, sync=True)
        return length

    def _put_together(self, upload_id: str) -> None:
        """Have all bytes of an upload be in one file, if they are in several."""
        if self._fenced:
            with errors_about(upload_id):
                pieces = Pieces(self._tree, upload_id)
                if pieces.last.begin:
                    pieces.put_together()

    def _survey(self, upload_id: str, kept_bytes: int | None) -> tuple[Pieces, int]:
        """Return the pieces as they are now, and how much of them counts."""
        with errors_about(upload_id):
            pieces = Pieces(self._tree, upload_id)
            length = self._flushed(pieces.last)
            return pieces, length if kept_bytes is None else min(length, kept_bytes)

    def _fence(self, upload_id: str, pieces: Pieces, length_bytes: int) -> bool:
        with errors_about(upload_id):
            return pieces.fence(pieces.new()._replace(begin=length_bytes))

    def _begin_whole(self, upload_id: str) -> tuple[Pieces, Piece]:
        with errors_about(upload_id):
            os.stat(self._tree.staged(upload_id))  # there must be something to replace
            pieces = Pieces(self._tree, upload_id)
            return pieces, pieces.new()

    def _end_whole(self, upload_id: str, pieces: Pieces, whole: Piece) -> bool:
        with errors_about(upload_id):
            return pieces.fence(whole)

    def _flush(self, upload_id: str) -> int:
        with errors_about(upload_id):
            return self._flushed(self._places.last(upload_id))

    def _flushed(self, piece: Piece) -> int:
        descriptor = os.open(piece.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            length = piece.length(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return length

    def _release(self, upload_id: str, *, over: bool = False) -> None:
        """Move a staged file to the released ones; `over` what is there, which is not it."""
        with errors_about(upload_id):
            released = self._tree.released(upload_id)
            if over or not (self._fenced and os.path.exists(released)):
                try:
                    os.rename(self._places.last(upload_id).path, released)
                except FileNotFoundError:
                    if not os.path.exists(released):
                        raise
            # Also when it was there: the crash that makes somebody ask again may have come before this.
            sync_folder(self._tree.folder(RELEASED, upload_id))
            if self._fenced:
                remove_all(self._tree, upload_id)
            sync_folder(self._tree.folder(STAGED, upload_id))

    def _put_right(self, upload_id: str, size_bytes: int, *, dry_run: bool) -> None:
        with errors_about(upload_id):
            try:
                kept_bytes: int | None = os.stat(self._tree.released(upload_id)).st_size
            except FileNotFoundError:
                kept_bytes = None
            if kept_bytes != size_bytes:
                staged_bytes = self._length(upload_id)
                if staged_bytes != size_bytes:
                    raise not_as_released(upload_id, size_bytes, kept_bytes=kept_bytes, staged_bytes=staged_bytes)
            if dry_run:
                return
            if kept_bytes != size_bytes:
                self._release(upload_id, over=kept_bytes is not None)
                return
            sync_folder(self._tree.folder(RELEASED, upload_id))
            remove_all(self._tree, upload_id)
            sync_folder(self._tree.folder(STAGED, upload_id))

    def _discard(self, upload_id: str, *, only_staged: bool) -> None:
        with errors_about(upload_id):
            staged = Piece(self._tree.staged(upload_id))
            if self._fenced:
                remove_all(self._tree, upload_id)
            released = [] if only_staged else [self._tree.released(upload_id)]
            for path in (staged.path, *released, staged.mark):
                remove(path)
