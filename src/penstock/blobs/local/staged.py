"""A staged file, open for the bytes of one request. Blocking: everything here runs in threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ..base import BlobUnavailable, OffsetConflict
from .pieces import Piece
from .tree import FILE_MODE, RELEASED, STAGED, Tree, errors_about, remove, sync_folder
from .writeback import begin_writeback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OPEN: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class StagedFile:
    """Writes at the end of a staged file. Calls come one at a time; `finish` is the last.

    Tentative bytes are preceded by a mark, a small file beside the staged one that holds the length so far. While the
    mark is there, what lies behind that length does not count; whoever opens the file next cuts it off. A body that
    is written in one piece needs no mark: it is known to be good before its first byte is written.
    """

    def __init__(
        self,
        tree: Tree,
        upload_id: str,
        offset: int,
        *,
        tentative: bool,
        piece: Piece | None = None,
        find: Callable[[], Piece] | None = None,
    ) -> None:
        """`piece` is what to write, and `find` looks for it when it is opened; both None: the upload's one file."""
        self.length_bytes = offset
        self.released = False
        """Whether the file was moved to the released ones."""
        self._piece = Piece(tree.staged(upload_id)) if piece is None else piece
        self._find = find
        self._grasped: int | None = None
        self._tree = tree
        self._id = upload_id
        self._start = offset
        self._tentative = tentative
        self._marked = False
        self._descriptor: int | None = None

    @property
    def opened(self) -> bool:
        """Whether there is something to finish."""
        return self._descriptor is not None

    def grasp(self) -> None:
        """Open the file and leave it as it is: nothing is done to it before it is known to be ours."""
        with errors_about(self._id):
            if self._find is not None:
                self._piece = self._find()
            self._grasped = os.open(self._piece.path, _OPEN)

    def let_go(self) -> None:
        """Close the file and leave it as it is: it is not ours."""
        for descriptor in (self._grasped, self._descriptor):
            if descriptor is not None:
                os.close(descriptor)
        self._grasped = self._descriptor = None

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write some of the body, with more to come."""
        with errors_about(self._id):
            descriptor = self._open()
            if self._tentative and not self._marked:
                self._set_mark()
            self._write(descriptor, pieces)

    def begin_anew(self) -> None:
        """Open the file for bytes that replace all that is in it, and count only from `finish` on."""
        with errors_about(self._id):
            self._descriptor = os.open(self._piece.path, _OPEN)
            settle(self._piece, self._descriptor)  # what died before may have left a mark: not to be rewritten
            # The new mark comes first: whoever dies from here on leaves an empty file.
            self._set_mark()
            self._cut(self._descriptor, 0)

    def take(self, copy: Callable[[int, int], int]) -> int:
        """Have `copy` write to a descriptor, at an offset: the end of the file; return how many bytes it wrote."""
        copied = copy(self._open(), self.length_bytes)
        self.length_bytes += copied
        return copied

    def rollback(self) -> None:
        """Let the file end where it ended when it was opened."""
        with errors_about(self._id):
            self._cut(self._open(), self._start)

    def finish(self, pieces: Sequence[bytes | memoryview], *, keep: bool, sync: bool, release: bool = False) -> None:
        """Write the end of the body, or forget all of it; close the file. With `sync`, force it to disk before.

        With `release`, which goes with `sync`, move it to the released files as well, if that works now.
        """
        with errors_about(self._id):
            descriptor = self._open()
            try:
                if keep:
                    self._write_last(descriptor, pieces)
                else:
                    self._cut(descriptor, self._start)
                if sync:
                    self._sync(descriptor)
                if self._marked:
                    remove(self._piece.mark)
                    if release:  # a mark that came back without its file would cut off what was moved
                        sync_folder(self._tree.folder(STAGED, self._id))
                if sync:
                    self.released = release and self._released()
                    sync_folder(self._tree.folder(STAGED, self._id))
            finally:
                self._descriptor = None
                os.close(descriptor)

    def _released(self) -> bool:
        """Move the file, durably; return whether that was done. If not, whoever releases it later is told why."""
        try:
            os.rename(self._piece.path, self._tree.released(self._id))
        except OSError:
            return False
        sync_folder(self._tree.folder(RELEASED, self._id))
        return True

    def _open(self) -> int:
        if self._descriptor is None:
            descriptor = self._taken()
            length = settle(self._piece, descriptor)
            if length != self._start:
                os.close(descriptor)
                self.length_bytes = length
                raise OffsetConflict(self._id, offset=self._start, length_bytes=length)
            self._descriptor = descriptor
        return self._descriptor

    def _taken(self) -> int:
        if self._grasped is None:
            return os.open(self._piece.path, _OPEN)
        descriptor, self._grasped = self._grasped, None
        return descriptor

    def _set_mark(self) -> None:
        mark = os.open(self._piece.mark, os.O_CREAT | os.O_TRUNC | _OPEN, FILE_MODE)
        self._marked = True
        try:
            os.write(mark, b"%d\n" % (self._start - self._piece.begin))
        finally:
            os.close(mark)

    def _write_last(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        try:
            self._write(descriptor, pieces)
        except OSError:
            if self._tentative:
                self._cut(descriptor, self._start)
                remove(self._piece.mark)
            raise

    def _write(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write all of `pieces`; when the disk is full in the middle, what fits is written before the error comes."""
        rest = pieces
        while rest:
            at = self.length_bytes - self._piece.begin
            written = os.pwritev(descriptor, rest, at)
            begin_writeback(descriptor, at, at + written)
            self.length_bytes += written
            rest = _after(rest, written)

    def _cut(self, descriptor: int, length_bytes: int) -> None:
        length_bytes = max(length_bytes, self._piece.begin)
        os.ftruncate(descriptor, length_bytes - self._piece.begin)
        self.length_bytes = length_bytes

    def _sync(self, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            # The system has dropped what it could not write, and says so once: a second try would seem to succeed.
            # Which bytes are damaged is unknown, so none of them may count.
            self._cut(descriptor, 0)
            raise BlobUnavailable(
                f"the bytes of upload {self._id} could not be forced to disk: {error.strerror}. "
                "They are lost: check the disk, then send them again from the start."
            ) from error


def settle(piece: Piece, descriptor: int) -> int:
    """Cut off tentative bytes that a crash left behind; return the length of the upload that counts."""
    length = os.fstat(descriptor).st_size
    marked = piece.marked()
    if marked is None:
        return piece.begin + length
    if marked < length:
        os.ftruncate(descriptor, marked)
        length = marked
    remove(piece.mark)
    return piece.begin + length


def _after(pieces: Sequence[bytes | memoryview], written: int) -> Sequence[bytes | memoryview]:
    """Return what is left of `pieces` after their first `written` bytes."""
    for index, piece in enumerate(pieces):
        if written < len(piece):
            return [memoryview(piece)[written:], *pieces[index + 1 :]]
        written -= len(piece)
    return []
