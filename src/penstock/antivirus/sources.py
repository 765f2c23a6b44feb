"""Reading what is to be scanned: in constant memory, exactly as many bytes as announced, and none of it changing."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .base import ByteStream, LocalFile, Source, SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE_BYTES = 1024 * 1024
"""How much is in memory at a time. Larger pieces make neither clamd nor a disk faster."""
_GATHERED_BYTES = 256 * 1024
"""Smaller pieces of a stream are joined up to this size, to save system calls."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file, open for reading, that had the announced size when it was opened."""

    fd: int
    path: Path
    size_bytes: int
    modified_ns: int
    """When it was written to last, at the time when it was opened."""

    async def verify_unchanged(self) -> None:
        """Make sure that the bytes are those that were there when the file was opened.

        Raises:
            SourceUnreadable: the file has been written to since.
        """
        now = await asyncio.to_thread(os.fstat, self.fd)
        if (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.modified_ns):
            raise SourceUnreadable(f"{self.path} was changed while it was scanned; the verdict is worth nothing")

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes in order.

        Raises:
            SourceUnreadable: they cannot be read, or end early.
        """
        offset = 0
        while offset < self.size_bytes:
            wanted = min(PIECE_BYTES, self.size_bytes - offset)
            try:
                piece = await asyncio.to_thread(os.pread, self.fd, wanted, offset)
            except OSError as err:
                raise SourceUnreadable(f"{self.path} cannot be read at byte {offset}: {err.strerror}") from err
            if not piece:
                raise SourceUnreadable(f"{self.path} ends after {offset} of {self.size_bytes} bytes")
            yield piece
            offset += len(piece)


@asynccontextmanager
async def opened(source: LocalFile, size_bytes: int) -> AsyncIterator[OpenFile]:
    """Open a file that is to be scanned.

    Raises:
        SourceUnreadable: it is not there, not a regular file, may not be read, or has another size.
    """
    file = await asyncio.to_thread(_open, source.path, size_bytes)
    try:
        yield file
    finally:
        os.close(file.fd)


def _open(path: Path, size_bytes: int) -> OpenFile:
    try:
        # Without O_NONBLOCK a named pipe would hold us here until somebody writes to it.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as err:
        raise SourceUnreadable(f"{path} cannot be opened: {err.strerror}") from err
    found = os.fstat(fd)
    reason = ""
    if not stat.S_ISREG(found.st_mode):
        reason = "is not a regular file"
    elif found.st_size != size_bytes:
        reason = f"has {found.st_size} bytes, {size_bytes} were announced"
    if reason:
        os.close(fd)
        raise SourceUnreadable(f"{path} {reason}")
    return OpenFile(fd, path, size_bytes, found.st_mtime_ns)


@asynccontextmanager
async def pieces_of(source: Source, size_bytes: int) -> AsyncIterator[AsyncIterator[bytes]]:
    """Give the bytes of any source in order, in pieces of at most `PIECE_BYTES`, and of no fewer than 1 byte.

    The iterator ends without an error only when it has given exactly `size_bytes`; leaving the context without an
    error means that a local file did not change meanwhile.

    Raises:
        SourceUnreadable: the bytes cannot be read, or are not `size_bytes`.
    """
    if isinstance(source, LocalFile):
        async with opened(source, size_bytes) as file:
            yield file.pieces()
            await file.verify_unchanged()
    else:
        yield _exactly(source, size_bytes)


async def _exactly(source: ByteStream, size_bytes: int) -> AsyncIterator[bytes]:
    seen = 0
    gathered = bytearray()
    async for given in source.pieces:
        seen += len(given)
        if seen > size_bytes:
            raise SourceUnreadable(f"more bytes came than the {size_bytes} that were announced")
        gathered += given
        if len(gathered) >= _GATHERED_BYTES:
            for piece in _cut(gathered):
                yield piece
            gathered.clear()
    if seen < size_bytes:
        raise SourceUnreadable(f"the bytes end after {seen} of the {size_bytes} that were announced")
    for piece in _cut(gathered):
        yield piece


def _cut(gathered: bytearray) -> list[bytes]:
    return [bytes(gathered[start : start + PIECE_BYTES]) for start in range(0, len(gathered), PIECE_BYTES)]
