"""What has come of one request and waits to be written: pieces, and memory that others put bytes into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..filling import LEAST_BYTES

if TYPE_CHECKING:
    from .sharing import Sharing

BATCH_PIECES: Final = 256
"""When a batch of small pieces is handed over. Each one costs some 60 bytes beside its own, and the system takes 1024
at once."""
_SHARE_BYTES: Final = 256 * 1024
"""How much each request has to be allowed, so that memory is kept for it: with more of them, only pieces are."""


class Batch:
    """Fills while the one before it is written, and after that with the memory that this one was in."""

    def __init__(self, sharing: Sharing) -> None:
        """`sharing` says how large it may become."""
        self.size_bytes = 0
        self._sharing = sharing
        self._pieces: list[bytes | memoryview] = []
        self._memory: bytearray | None = None
        self._used_bytes = 0
        self._other: bytearray | None = None
        """Where the batch before this one is, or was."""

    def is_full(self) -> bool:
        """Tell whether it is to be written."""
        if self.size_bytes >= self._sharing.batch_bytes or len(self._pieces) >= BATCH_PIECES:
            return True
        return self._memory is not None and len(self._memory) - self._used_bytes < LEAST_BYTES

    def add(self, piece: bytes) -> None:
        """Add a piece."""
        self._pieces.append(piece)
        self.size_bytes += len(piece)

    def space(self, wanted_bytes: int) -> memoryview | None:
        """Return memory for more (`SupportsFilling.space`)."""
        share = self._sharing.batch_bytes
        if share < _SHARE_BYTES:
            self._memory = self._other = None  # what pieces are in stays until they are written
            self._used_bytes = 0
            return None
        most = share + LEAST_BYTES  # so that there is room worth asking for until it is full
        wanted = min(wanted_bytes + LEAST_BYTES, most)
        if self._memory is None or (not self._used_bytes and not wanted // 2 <= len(self._memory) <= most):
            self._memory, self._used_bytes = bytearray(wanted), 0
        end = min(len(self._memory), self._used_bytes + most - self.size_bytes)
        return memoryview(self._memory)[self._used_bytes : end] if end - self._used_bytes >= LEAST_BYTES else None

    def filled(self, count: int) -> None:
        """Add the first bytes of that memory."""
        if self._memory is None:
            raise RuntimeError("there is no memory to be filled")
        end = self._used_bytes + count
        self._pieces.append(memoryview(self._memory)[self._used_bytes : end])
        self._used_bytes = end
        self.size_bytes += count

    def take(self) -> list[bytes | memoryview]:
        """Return all of it and begin anew. The batch before must have been written by the time of `space`."""
        pieces, self._pieces, self.size_bytes = self._pieces, [], 0
        if self._used_bytes:
            self._memory, self._other, self._used_bytes = self._other, self._memory, 0
        return pieces
