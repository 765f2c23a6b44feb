"""How much of their bodies all requests together may hold in memory, before these are written."""

from __future__ import annotations

from typing import Final

BATCH_BYTES: Final = 1024 * 1024
"""The most that one request holds. Measured on tmpfs: half costs 10 % more CPU, twice as much saves nothing."""
HELD_BYTES: Final = 8 * BATCH_BYTES
"""What all of them hold together: eight fast ones are not slowed down, and a thousand slow ones take little memory."""
LEAST_BYTES: Final = 4 * 1024
"""A hop to a thread for less than this would cost more than the bytes do."""


class Sharing:
    """Divides it among the requests that are at work."""

    def __init__(self) -> None:
        self._requests = 0
        self.batch_bytes = BATCH_BYTES
        """How much of its body each of them may hold."""

    def begin(self) -> None:
        """Count a request."""
        self._count(1)

    def end(self) -> None:
        """Count one no more."""
        self._count(-1)

    def _count(self, more: int) -> None:
        self._requests += more
        self.batch_bytes = max(LEAST_BYTES, min(BATCH_BYTES, HELD_BYTES // max(1, self._requests)))
