"""Staged bytes in several files, where more than one process may believe that it is the one to write them.

A process that was stopped for too long, and wakes up, still has a file open: nothing keeps it from writing there. So
whoever takes over makes another file and goes on there, and what comes into the older one does not count any more::

    <id>                what was there first
    <id>.1              the first fence: from which byte on which file counts, such as "1048576 <id>.1.5f0c"
    <id>.1.5f0c         the bytes from there on
    <id>.2, <id>.2.97a1 the next one, and so on
    <id>.2.97a1.fence   the draft of a fence; who dies leaves it behind, and the piece that was to go with it

A fence is made once and never changed: of two who want to make the same one, the second is told so by the system, also
on a volume in the network. So it has to look at the fences first, then make sure that the upload is still its own, and
then make the next. When all bytes are there they are put together in one file, behind a fence at byte 0.
"""

from __future__ import annotations

import os
import re
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from ..base import BlobUnavailable
from .tree import FILE_MODE, NOT_IN_KERNEL, STAGED, remove, sync_folder

if TYPE_CHECKING:
    from .tree import Tree

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES: Final = 64 * 1024 * 1024
_EVERYTHING: Final = 1 << 62
_MARK: Final = ".tentative"
_BESIDE: Final = re.compile(r"([0-9a-f]{32})\.(?:tentative|[0-9]+(?:\.[0-9a-f]+(?:\.tentative|\.fence)?)?)", re.ASCII)


class Piece(NamedTuple):
    """A file, and which byte of the upload its first one is."""

    path: str
    begin: int = 0

    @property
    def mark(self) -> str:
        """The file that says from which byte of this one on they do not count."""
        return self.path + _MARK

    def length(self, descriptor: int) -> int:
        """Return where the upload ends if this piece is its last."""
        length, marked = os.fstat(descriptor).st_size, self.marked()
        return self.begin + (length if marked is None else min(length, marked))

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes of the upload that are in this file; fewer if there are fewer."""
        descriptor = os.open(self.path, _READ)
        try:
            return os.pread(descriptor, stop - start, start - self.begin)
        finally:
            os.close(descriptor)

    def marked(self) -> int | None:
        """Return from which byte of the file on they are tentative, or None when there is no mark."""
        try:
            mark = os.open(self.mark, _READ)
        except FileNotFoundError:
            return None
        try:
            text = os.read(mark, 32)
        finally:
            os.close(mark)
        # A mark without its end was not yet written when its process died, so nothing was written after it either.
        return int(text) if text.endswith(b"\n") else _EVERYTHING


def owner_of(name: str) -> str:
    """Return the upload that a file beside its first one goes with: a mark, a piece, a fence; empty: it is none."""
    found = _BESIDE.fullmatch(name)
    return found.group(1) if found else ""


def remove_all(tree: Tree, upload_id: str) -> None:
    """Remove all files of a staged upload, also those that somebody has left who died before they counted.

    First goes what has the last bytes: from then on nothing counts. Fences go after the first file, the newest one
    first, or what is in an older file would count again after a death in the middle.
    """
    folder = tree.folder(STAGED, upload_id)
    beside = [name.split(".") for name in os.listdir(folder) if owner_of(name) == upload_id]
    numbered = sorted((name for name in beside if name[1].isdigit()), key=lambda name: int(name[1]), reverse=True)
    pieces, fences = [name for name in numbered if len(name) > 2], [name for name in numbered if len(name) == 2]
    for name in [*pieces, [upload_id], [upload_id, _MARK[1:]], *fences]:
        remove(f"{folder}/{'.'.join(name)}")


class Pieces:
    """The pieces of one upload, as they were when this was made: to be looked at again after any change."""

    def __init__(self, tree: Tree, upload_id: str) -> None:
        self._id = upload_id
        self._base = tree.staged(upload_id)
        self._folder = tree.folder(STAGED, upload_id)
        self._pieces = [Piece(self._base)]
        while (found := self._read(len(self._pieces))) is not None:
            self._pieces.append(found)

    @property
    def last(self) -> Piece:
        """The one that grows, or that has everything."""
        return self._pieces[-1]

    def length(self) -> int:
        """Return how many bytes count.

        Raises:
            FileNotFoundError: none do any more: they were moved, or are being removed.
        """
        descriptor = os.open(self.last.path, _READ)
        try:
            return self.last.length(descriptor)
        finally:
            os.close(descriptor)

    def new(self) -> Piece:
        """Make an empty file for a piece that begins at 0; it does not count before there is a `fence` for it."""
        path = f"{self._base}.{len(self._pieces)}.{secrets.token_hex(4)}"
        os.close(os.open(path, _NEW, FILE_MODE))
        return Piece(path)

    def fence(self, piece: Piece) -> bool:
        """Have a piece count from its begin on, in place of all others; return False if another process was faster."""
        text = f"{piece.begin} {os.path.basename(piece.path)}\n"
        draft = f"{piece.path}.fence"
        descriptor = os.open(draft, _NEW, FILE_MODE)
        try:
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(draft, f"{self._base}.{len(self._pieces)}")
        except FileExistsError:
            remove(piece.path)
            return False
        finally:
            remove(draft)
        sync_folder(self._folder)
        self._pieces.append(piece)
        return True

    def spans(self, length_bytes: int) -> list[tuple[Piece, int]]:
        """Return the pieces that count, in order, each with how many of its bytes do."""
        found, end = list[tuple[Piece, int]](), length_bytes
        for piece in reversed(self._pieces):
            if piece.begin < end:
                found.append((piece, end - piece.begin))
                end = piece.begin
        return list(reversed(found))

    def put_together(self) -> None:
        """Copy what counts to one file, on disk, and have that be the upload."""
        length = self.length()
        whole = self.new()
        target = os.open(whole.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for piece, size in self.spans(length):
                _copy(piece, size, target, self._id)
            os.fsync(target)
        finally:
            os.close(target)
        self.fence(whole)  # whoever was faster has put the same together

    def _read(self, number: int) -> Piece | None:
        try:
            fence = os.open(f"{self._base}.{number}", _READ)
        except FileNotFoundError:
            return None
        try:
            begin, _, name = os.read(fence, 200).decode().strip().partition(" ")
        finally:
            os.close(fence)
        if not begin.isdigit() or owner_of(name) != self._id:
            raise BlobUnavailable(
                f"upload {self._id} was taken over by another process, and {self._base}.{number} does not say where. "
                "Nothing was changed. Put the file back as it was, or remove the upload."
            )
        return Piece(f"{self._folder}/{name}", int(begin))


def _copy(piece: Piece, size: int, target: int, upload_id: str) -> None:
    source = os.open(piece.path, _READ)
    try:
        done = 0
        while done < size:
            copied = _copy_some(source, target, min(size - done, _COPY_BYTES))
            if not copied:
                raise BlobUnavailable(
                    f"some bytes of upload {upload_id} are gone that had arrived. Send it again as a new upload."
                )
            done += copied
    finally:
        os.close(source)


def _copy_some(source: int, target: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size)
    except OSError as error:
        if error.errno not in NOT_IN_KERNEL:
            raise
        return os.write(target, os.read(source, min(size, 1024 * 1024)))
