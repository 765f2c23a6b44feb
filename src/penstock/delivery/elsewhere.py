"""Bytes that lie in no file on this machine: they come from elsewhere while they are read."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Protocol

from .base import BytesUnavailable, Delivered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


class Reading(Protocol):
    """Reads the bytes anew."""

    def __call__(self, *, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `stop` (None: to the end).

        Raises:
            BytesUnavailable: they could not be read, or ended early.
        """
        ...


class BytesElsewhere(Delivered):
    """What `read` gives; `readings` closes those that have not come to their end."""

    is_file = False

    def __init__(self, size_bytes: int, read: Reading, readings: AsyncExitStack) -> None:
        self._size_bytes = size_bytes
        self._read = read
        self._readings = readings

    @property
    def path(self) -> Path:
        """There is none.

        Raises:
            BytesUnavailable: always.
        """
        raise BytesUnavailable("the bytes lie in no file on this machine; they can only be read as a stream")

    @property
    def size_bytes(self) -> int:
        """How many there are, as the start event says; `stream` makes sure of it."""
        return self._size_bytes

    def stream(self, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `stop` (None: to the end).

        Raises:
            BytesUnavailable: they could not be read, or ended early.
        """
        pieces = self._read(start=start, stop=stop)
        self._readings.push_async_callback(_close, pieces)
        return pieces


async def _close(pieces: AsyncGenerator[bytes, None]) -> None:
    with suppress(RuntimeError):  # it is being read: a call that was cancelled has not ended yet, and will close it
        await pieces.aclose()
