"""Putting a stream on disk for as long as it is scanned, for who looks at a file as a whole, or more than once."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..threads import to_its_end
from .base import ScannerUnavailable
from .sources import OpenFile, pieces_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .base import ByteStream


@asynccontextmanager
async def spooled(stream: ByteStream, size_bytes: int, folder: Path | None) -> AsyncIterator[OpenFile]:
    """Write a stream to a file without a name in `folder` (None: the system's choice), gone with the context.

    Raises:
        SourceUnreadable: the stream does not have `size_bytes`.
        ScannerUnavailable: there is no room, or no right to write there.
    """
    where = folder or Path(tempfile.gettempdir())
    try:
        file = await asyncio.to_thread(tempfile.TemporaryFile, "w+b", 0, dir=where)
    except OSError as err:
        raise _no_room(where, err) from err
    try:
        async with pieces_of(stream, size_bytes) as pieces:
            async for piece in pieces:
                await to_its_end(_write, file, piece, where)
        yield OpenFile(file.fileno(), where / "(stream)", size_bytes, os.fstat(file.fileno()).st_mtime_ns)
    finally:
        file.close()


def _write(file: BinaryIO, piece: bytes, folder: Path) -> None:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as err:
        raise _no_room(folder, err) from err


def _no_room(folder: Path, err: OSError) -> ScannerUnavailable:
    return ScannerUnavailable(f"the bytes to be scanned cannot be kept in {folder}: {err.strerror}")
