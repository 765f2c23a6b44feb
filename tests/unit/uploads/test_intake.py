from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import StorageFull
from penstock.blobs.local import LocalBlobs
from penstock.ids import new_upload_id
from penstock.uploads.checksum import Checksum
from penstock.uploads.errors import ChecksumMismatch, TooLarge
from penstock.uploads.expected import Expected
from penstock.uploads.intake import Intake
from penstock.uploads.locks import Hold
from tests.unit.uploads.way_in import body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IDLE = timedelta(seconds=30)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path) as store:
        yield store


async def read(blobs: LocalBlobs, intake: Intake, *chunks: bytes) -> tuple[int, int | None]:
    """Read a body into a new blob; return its length, and what the holder promised that would stay."""
    upload = new_upload_id()
    await blobs.create(upload)
    hold = Hold(upload)
    async with blobs.append(upload, 0) as appender:
        await intake.read(body(*chunks), appender, hold, IDLE)
        intake.check(complete=True)
    return await blobs.length(upload), hold.kept_bytes


async def test_a_body_is_written(blobs: LocalBlobs) -> None:
    assert await read(blobs, Intake(limit_bytes=None, expected=None), b"he", b"llo") == (5, 5)
    assert await read(blobs, Intake(limit_bytes=5, expected=None), b"he", b"llo") == (5, 5)


async def test_a_body_does_not_go_over_its_limit(blobs: LocalBlobs) -> None:
    with pytest.raises(TooLarge, match="goes on after byte 4"):
        await read(blobs, Intake(limit_bytes=4, expected=None), b"he", b"llo")


@pytest.mark.parametrize("size", [5, 200_000])
async def test_chunks_of_all_sizes_are_hashed(blobs: LocalBlobs, size: int) -> None:
    expected = Expected.of(Checksum("sha256", hashlib.sha256(b"x" * size * 2).digest()))
    # What has a checksum is not promised to stay before it is verified.
    assert await read(blobs, Intake(limit_bytes=None, expected=expected), b"x" * size, b"x" * size) == (2 * size, None)
    with pytest.raises(ChecksumMismatch):
        await read(blobs, Intake(limit_bytes=None, expected=expected), b"x" * size)


async def test_growing_may_be_refused(blobs: LocalBlobs) -> None:
    seen = []

    async def grows(end: int) -> None:
        await asyncio.sleep(0)
        seen.append(end)
        if end > 4:
            raise StorageFull("no")

    with pytest.raises(StorageFull):
        await read(blobs, Intake(limit_bytes=None, expected=None, grows=grows), b"he", b"llo")
    assert seen == [2, 5]
