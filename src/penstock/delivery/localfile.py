"""Bytes that lie in a file on this machine, read without holding up the event loop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from .base import BytesUnavailable, Delivered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

PIECE_BYTES = 1024 * 1024
"""The most that is read at once."""


class LocalBytes(Delivered):
    """A file whose size is known beforehand."""

    is_file = True

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    @property
    def size_bytes(self) -> int:
        """How many bytes it holds."""
        return self._size_bytes

    async def stream(self, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `stop` (None: to the end).

        Raises:
            BytesUnavailable: the file could not be read, or ended early.
        """
        end = self._size_bytes if stop is None else min(stop, self._size_bytes)
        try:
            file = await asyncio.to_thread(self._path.open, "rb", buffering=0)
        except OSError as error:
            raise BytesUnavailable(f"{self._path} cannot be opened: {error.strerror}") from error
        with file:
            position = start
            while position < end:
                try:
                    # At a position: a thread that outlives this, and the file, must not read on in what is opened next.
                    wanted = min(PIECE_BYTES, end - position)
                    piece = await asyncio.to_thread(os.pread, file.fileno(), wanted, position)
                except OSError as error:
                    raise BytesUnavailable(f"{self._path} cannot be read: {error.strerror}") from error
                if not piece:
                    raise BytesUnavailable(f"{self._path} ends after {position} of {self._size_bytes} bytes")
                position += len(piece)
                yield piece
