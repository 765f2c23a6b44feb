"""Where the bytes of an upload are right now. Blocking: everything here runs in threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeVar

from .pieces import Piece, Pieces
from .tree import Tree, errors_about

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Places:
    """The files of the uploads in one tree."""

    def __init__(self, tree: Tree, *, fenced: bool) -> None:
        """`fenced`: whether there may be several files of an upload (`pieces`)."""
        self.tree = tree
        self.fenced = fenced

    def last(self, upload_id: str) -> Piece:
        """Return the file that grows, or that has everything."""
        return Pieces(self.tree, upload_id).last if self.fenced else Piece(self.tree.staged(upload_id))

    def wherever(self, upload_id: str, look: Callable[[str], T]) -> T:
        """Look at a file where it is staged, else where it is released: it moves in this direction only."""
        try:
            return look(self.last(upload_id).path)
        except FileNotFoundError:
            return look(self.tree.released(upload_id))

    def open(self, upload_id: str) -> int:
        """Open a file to be read; return its descriptor."""
        with errors_about(upload_id):
            return self.wherever(upload_id, lambda path: os.open(path, _READ))

    def earlier(self, upload_id: str) -> tuple[int, list[tuple[Piece, int]]]:
        """Return where the last file of an upload begins, and what has the bytes before it, each with how many."""
        with errors_about(upload_id):
            pieces = Pieces(self.tree, upload_id)
            if not os.path.exists(pieces.last.path):
                return 0, []  # it was moved, and somebody died before the rest was removed
            return pieces.last.begin, pieces.spans(pieces.last.begin)
