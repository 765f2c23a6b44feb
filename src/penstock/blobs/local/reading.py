"""Reads the bytes of uploads, staged in one file or in several, or released."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from ...threads import to_the_end
from ..base import BlobUnavailable
from .tree import errors_about

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .crew import Crew
    from .pieces import Piece
    from .places import Places

_PIECE_BYTES: Final = 256 * 1024
"""The most that is read at once."""


class Reading:
    """Reads in threads, a piece at a time."""

    def __init__(self, places: Places, crew: Crew) -> None:
        self._places = places
        self._run = crew.run

    async def read(self, upload_id: str, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file; those before it, if there are fences, from the files that have them."""
        if self._places.fenced:
            begin, earlier = await self._run(self._places.earlier, upload_id)
            for part, size in earlier:
                end = part.begin + size if stop is None else min(stop, part.begin + size)
                while start < end:
                    found = await self._run(_read_earlier, upload_id, part, start, end)
                    start += len(found)
                    yield found
            if stop is not None and start >= stop:
                return
            start, stop = start - begin, None if stop is None else stop - begin
        descriptor = await self._opened(upload_id)
        try:
            while stop is None or start < stop:
                size = _PIECE_BYTES if stop is None else min(_PIECE_BYTES, stop - start)
                piece = await to_the_end(self._run(_read, upload_id, descriptor, size, start))
                if not piece:
                    return
                start += len(piece)
                yield piece
        finally:
            os.close(descriptor)  # nothing was written, so there is nothing to wait for

    async def _opened(self, upload_id: str) -> int:
        opening = self._run(self._places.open, upload_id)
        try:
            return await to_the_end(opening)
        except asyncio.CancelledError:
            if opening.exception() is None:
                os.close(opening.result())
            raise


def _read(upload_id: str, descriptor: int, size: int, start: int) -> bytes:
    with errors_about(upload_id):
        return os.pread(descriptor, size, start)


def _read_earlier(upload_id: str, piece: Piece, start: int, stop: int) -> bytes:
    with errors_about(upload_id):
        found = piece.read(start, min(stop, start + _PIECE_BYTES))
    if not found:
        raise BlobUnavailable(f"some bytes of upload {upload_id} are gone that had arrived.")
    return found
