"""Bytes of one request that do not fill a segment yet."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sending import Limits


class Waiting:
    """They wait here, and count for the limits of all requests."""

    def __init__(self, limits: Limits) -> None:
        self.size_bytes = 0
        """How many there are."""
        self._limits = limits
        self._pieces: deque[bytes | memoryview] = deque()

    def add(self, piece: bytes) -> None:
        """Add some."""
        self._pieces.append(piece)
        self._grow(len(piece))

    def all(self) -> bytes:
        """Return all of them; they go on waiting."""
        return b"".join(self._pieces)

    def cut(self, size_bytes: int) -> bytes:
        """Take away the first of them; there must be so many."""
        pieces, missing = list[bytes | memoryview](), size_bytes
        while missing:
            piece = self._pieces[0]
            if len(piece) <= missing:
                pieces.append(self._pieces.popleft())
                missing -= len(piece)
            else:
                pieces.append(memoryview(piece)[:missing])
                self._pieces[0] = memoryview(piece)[missing:]
                missing = 0
        self._grow(-size_bytes)
        return b"".join(pieces)

    def clear(self) -> None:
        """Forget them."""
        self._pieces.clear()
        self._grow(-self.size_bytes)

    def _grow(self, more_bytes: int) -> None:
        self.size_bytes += more_bytes
        self._limits.holds(more_bytes)
