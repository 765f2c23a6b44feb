"""A staged file, open for the bytes of one request. Blocking: everything here runs in threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ..base import BlobUnavailable, OffsetConflict
from .tree import FILE_MODE, STAGED, Tree, errors_about, remove, sync_folder
from .writeback import begin_writeback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OPEN: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_EVERYTHING: Final = 1 << 62


class StagedFile:
    """Writes at the end of a staged file. Calls come one at a time; `finish` is the last.

    Tentative bytes are preceded by a mark, a small file beside the staged one that holds the length so far. While the
    mark is there, what lies behind that length does not count; whoever opens the file next cuts it off. A body that
    is written in one piece needs no mark: it is known to be good before its first byte is written.
    """

    def __init__(self, tree: Tree, upload_id: str, offset: int, *, tentative: bool) -> None:
        self.length_bytes = offset
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

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write some of the body, with more to come."""
        with errors_about(self._id):
            descriptor = self._open()
            if self._tentative and not self._marked:
                self._set_mark()
            self._write(descriptor, pieces)

    def begin_anew(self) -> None:
        """Open the file for bytes that replace all that is in it, and count only from `finish` on."""
        with errors_about(self._id):
            self._descriptor = os.open(self._tree.staged(self._id), _OPEN)
            settle(self._tree, self._id, self._descriptor)  # what died before may have left a mark: not to be rewritten
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

    def finish(self, pieces: Sequence[bytes], *, keep: bool, sync: bool) -> None:
        """Write the end of the body, or forget all of it; close the file. With `sync`, force it to disk before."""
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
                    remove(self._tree.mark(self._id))
                if sync:
                    sync_folder(self._tree.folder(STAGED, self._id))
            finally:
                self._descriptor = None
                os.close(descriptor)

    def _open(self) -> int:
        if self._descriptor is None:
            descriptor = os.open(self._tree.staged(self._id), _OPEN)
            length = settle(self._tree, self._id, descriptor)
            if length != self._start:
                os.close(descriptor)
                self.length_bytes = length
                raise OffsetConflict(self._id, offset=self._start, length_bytes=length)
            self._descriptor = descriptor
        return self._descriptor

    def _set_mark(self) -> None:
        mark = os.open(self._tree.mark(self._id), os.O_CREAT | os.O_TRUNC | _OPEN, FILE_MODE)
        self._marked = True
        try:
            os.write(mark, b"%d\n" % self._start)
        finally:
            os.close(mark)

    def _write_last(self, descriptor: int, pieces: Sequence[bytes]) -> None:
        try:
            self._write(descriptor, pieces)
        except OSError:
            if self._tentative:
                self._cut(descriptor, self._start)
                remove(self._tree.mark(self._id))
            raise

    def _write(self, descriptor: int, pieces: Sequence[bytes]) -> None:
        """Write all of `pieces`; when the disk is full in the middle, what fits is written before the error comes."""
        rest: Sequence[bytes | memoryview] = pieces
        while rest:
            written = os.pwritev(descriptor, rest, self.length_bytes)
            begin_writeback(descriptor, self.length_bytes, self.length_bytes + written)
            self.length_bytes += written
            rest = _after(rest, written)

    def _cut(self, descriptor: int, length_bytes: int) -> None:
        os.ftruncate(descriptor, length_bytes)
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


def settle(tree: Tree, upload_id: str, descriptor: int) -> int:
    """Cut off tentative bytes that a crash left behind; return the length that counts."""
    length = os.fstat(descriptor).st_size
    marked = marked_length(tree, upload_id)
    if marked is None:
        return length
    if marked < length:
        os.ftruncate(descriptor, marked)
        length = marked
    remove(tree.mark(upload_id))
    return length


def marked_length(tree: Tree, upload_id: str) -> int | None:
    """Return the length from which on staged bytes are tentative, or None when there is no mark."""
    try:
        mark = os.open(tree.mark(upload_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        text = os.read(mark, 32)
    finally:
        os.close(mark)
    # A mark without its end was not yet written when its process died, so nothing was written after it either.
    return int(text) if text.endswith(b"\n") else _EVERYTHING


def _after(pieces: Sequence[bytes | memoryview], written: int) -> Sequence[bytes | memoryview]:
    """Return what is left of `pieces` after their first `written` bytes."""
    for index, piece in enumerate(pieces):
        if written < len(piece):
            return [memoryview(piece)[written:], *pieces[index + 1 :]]
        written -= len(piece)
    return []
