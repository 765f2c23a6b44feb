"""Compares a whole file with the checksum that its uploader has named."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from ..protocols.integrity import FILE_ALGORITHMS

if TYPE_CHECKING:
    from ...blobs.base import BlobStore
    from ..protocols.checksum import Checksum


async def objection(blobs: BlobStore, upload_id: str, expected: Checksum) -> str:
    """Compare the bytes of an upload with what they must hash to; return what is wrong, or nothing.

    Raises:
        BlobMissing, BlobUnavailable: they cannot be read.
    """
    actual = await digest(blobs, upload_id, expected.algorithm)
    if actual == expected.digest:
        return ""
    return f"its {expected.algorithm} is {actual.hex()}, and not {expected.digest.hex()} as was announced"


async def digest(blobs: BlobStore, upload_id: str, algorithm: str, stop: int | None = None) -> bytes:
    """Return what the bytes of an upload hash to, up to `stop` (None: all of them).

    Raises:
        BlobMissing, BlobUnavailable: they cannot be read.
    """
    actual = FILE_ALGORITHMS[algorithm]()
    async with aclosing(blobs.read(upload_id, stop=stop)) as pieces:
        async for piece in pieces:
            await asyncio.to_thread(actual.update, piece)
    return actual.digest()
