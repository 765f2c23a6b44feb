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
from penstock.uploads.errors import ChecksumMismatch, TooLarge
from penstock.uploads.locking.locks import Hold
from penstock.uploads.protocols.checksum import ALGORITHMS, Checksum
from penstock.uploads.protocols.expected import Expected
from penstock.uploads.receiving.intake import Intake
from tests.unit.uploads.way_in import body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IDLE = timedelta(seconds=30)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path) as store:
        yield store


class Filled:
    """A body of which the rest, after its first piece, is put where it is wanted, as far as there is memory for it."""

    def __init__(self, first: bytes, rest: bytes, at_once: int = 50_000) -> None:
        self._first = first
        self._rest = rest
        self._at_once = at_once
        self.rooms: list[int] = []

    @property
    def left_bytes(self) -> int:
        return len(self._rest)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        while self._rest:
            piece, self._rest = self._rest[: self._at_once], self._rest[self._at_once :]
            yield piece

    async def read_into(self, room: memoryview) -> int:
        self.rooms.append(len(room))
        piece = self._rest[: min(len(room), self._at_once)]
        room[: len(piece)] = piece
        self._rest = self._rest[len(piece) :]
        return len(piece)


async def read(
    blobs: LocalBlobs, intake: Intake, *chunks: bytes, filled: Filled | None = None
) -> tuple[int, int | None]:
    """Read a body into a new blob; return its length, and what the holder promised that would stay."""
    upload = new_upload_id()
    await blobs.create(upload)
    hold = Hold(upload)
    async with blobs.append(upload, 0) as appender:
        await intake.read(filled or body(*chunks), appender, hold, IDLE)
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


REST = (bytes(range(253)) * 3558)[:900_000]


@pytest.mark.parametrize("checked", [False, True])
async def test_the_rest_of_a_large_body_is_received_where_it_is_written_from(blobs: LocalBlobs, checked: bool) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    whole = hashlib.sha256(b"he" + REST).digest()
    expected = Expected.of(Checksum("sha256", whole)) if checked else None
    intake, hold, large = Intake(limit_bytes=900_002, expected=expected), Hold(upload), Filled(b"he", REST)
    async with blobs.append(upload, 0, tentative=checked) as appender:
        await intake.read(large, appender, hold, IDLE)
        intake.check(complete=True)
    assert b"".join([piece async for piece in blobs.read(upload)]) == b"he" + REST
    assert hold.kept_bytes == (None if checked else 900_002)
    assert len(large.rooms) == 13, "until less than 256 KiB are left, which come in pieces"


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
async def test_what_is_received_so_is_hashed(blobs: LocalBlobs, algorithm: str) -> None:
    hashed = ALGORITHMS[algorithm]()
    hashed.update(b"he" + REST)
    expected = Expected.of(Checksum(algorithm, hashed.digest()))
    assert (await read(blobs, Intake(limit_bytes=None, expected=expected), filled=Filled(b"he", REST)))[0] == 900_002
    with pytest.raises(ChecksumMismatch):
        await read(blobs, Intake(limit_bytes=None, expected=expected), filled=Filled(b"hi", REST))


async def test_what_is_received_so_does_not_go_over_its_limit_either(blobs: LocalBlobs) -> None:
    with pytest.raises(TooLarge, match="goes on after byte 120000"):
        await read(blobs, Intake(limit_bytes=120_000, expected=None), filled=Filled(b"he", REST))


async def test_growing_is_asked_about_for_what_is_received_so(blobs: LocalBlobs) -> None:
    seen = []

    async def grows(end: int) -> None:
        seen.append(end)

    large = Filled(b"he", REST, 300_000)
    assert await read(blobs, Intake(limit_bytes=None, expected=None, grows=grows), filled=large) == (900_002, 900_002)
    assert seen == [2, 300_002, 600_002, 900_002]
