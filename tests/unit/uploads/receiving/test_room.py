from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import StorageFull
from penstock.blobs.local import LocalBlobs
from penstock.uploads.allowances import Allowance, Allowances
from penstock.uploads.receiving.room import STEP_BYTES
from tests.unit.uploads.way_in import WayIn, body, way_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SPARE = 1000


class SmallDisk(LocalBlobs):
    """A local store on a disk of a given size."""

    def __init__(self, root: Path, size: int) -> None:
        super().__init__(root)
        self.size = size
        self.looks = 0

    async def free_bytes(self) -> int:
        self.looks += 1
        used = sum([await self.length(upload) for upload in await self.staged()])
        return self.size - used


@pytest.fixture
def disk(tmp_path: Path) -> SmallDisk:
    return SmallDisk(tmp_path / "blobs", 10_000 + SPARE)


@pytest.fixture
async def parts(tmp_path: Path, disk: SmallDisk) -> AsyncIterator[WayIn]:
    async with way_in(tmp_path, disk, spare_bytes=SPARE) as opened:
        yield opened


async def test_admitted_uploads_all_finish_and_others_are_refused_at_once(parts: WayIn) -> None:
    admitted = []
    for _ in range(10):
        try:
            admitted.append((await parts.receiver.create("a", size_bytes=2500)).upload.id)
        except StorageFull:
            continue
    assert len(admitted) == 4
    for upload in admitted:
        assert (await parts.receiver.receive(upload, 0, body(bytes(2500)), length=2500)).complete


async def test_bytes_that_have_arrived_are_not_counted_twice(parts: WayIn) -> None:
    first = (await parts.receiver.create("a", size_bytes=6000)).upload.id
    await parts.receiver.receive(first, 0, body(bytes(5000)), length=5000)
    await parts.receiver.create("b", size_bytes=4000)
    with pytest.raises(StorageFull):
        await parts.receiver.create("c", size_bytes=1)


async def test_what_arrives_between_two_looks_at_the_disk_is_counted(parts: WayIn, disk: SmallDisk) -> None:
    first = (await parts.receiver.create("a", size_bytes=6000)).upload.id
    looks = disk.looks
    await parts.receiver.receive(first, 0, body(bytes(6000)), length=6000)
    with pytest.raises(StorageFull):
        await parts.receiver.create("b", size_bytes=5000)
    await parts.receiver.create("b", size_bytes=4000)
    assert disk.looks <= looks + 2


async def test_the_disk_is_not_looked_at_for_each_upload(parts: WayIn, disk: SmallDisk) -> None:
    for _ in range(20):
        await parts.receiver.create("a", size_bytes=10)
    assert disk.looks == 1
    await parts.clock.advance(timedelta(seconds=2))
    await parts.receiver.create("a", size_bytes=10)
    assert disk.looks == 2


async def test_room_of_uploads_that_ended_otherwise_is_found_again(parts: WayIn) -> None:
    made = await parts.receiver.create("a", size_bytes=9000)
    await parts.gateway.expire(made.upload)
    await parts.receiver.create("b", size_bytes=9000)


async def test_uploads_of_an_earlier_run_keep_their_room(tmp_path: Path) -> None:
    async with way_in(tmp_path, SmallDisk(tmp_path / "blobs", 10_000 + SPARE), spare_bytes=SPARE) as parts:
        first = (await parts.receiver.create("a", size_bytes=6000)).upload.id
        await parts.receiver.receive(first, 0, body(bytes(5000)), length=5000)
    async with way_in(tmp_path, SmallDisk(tmp_path / "blobs", 10_000 + SPARE), spare_bytes=SPARE) as parts:
        await parts.receiver.create("b", size_bytes=4000)
        with pytest.raises(StorageFull):
            await parts.receiver.create("c", size_bytes=1)
        assert (await parts.receiver.receive(first, 5000, body(bytes(1000)), length=1000)).complete


async def test_an_upload_of_unknown_size_does_not_take_what_others_were_promised(tmp_path: Path) -> None:
    size = 5 * STEP_BYTES + SPARE
    async with way_in(tmp_path, SmallDisk(tmp_path / "blobs", size), spare_bytes=SPARE) as parts:
        promised = (await parts.receiver.create("a", size_bytes=2 * STEP_BYTES)).upload.id
        greedy = (await parts.receiver.create("b", size_bytes=None)).upload.id
        with pytest.raises(StorageFull):
            await parts.receiver.receive(greedy, 0, body(*[bytes(1024 * 1024)] * 100), length=None)
        assert await parts.receiver.offset(greedy) <= 3 * STEP_BYTES
        chunks = [bytes(1024 * 1024)] * (2 * STEP_BYTES // (1024 * 1024))
        assert (await parts.receiver.receive(promised, 0, body(*chunks), length=2 * STEP_BYTES)).complete


async def test_a_storage_that_cannot_tell_refuses_nothing(tmp_path: Path) -> None:
    class Unknowing(SmallDisk):
        async def free_bytes(self) -> int:
            return None  # type: ignore[return-value]

    async with way_in(tmp_path, Unknowing(tmp_path / "blobs", 0), spare_bytes=SPARE) as parts:
        await parts.receiver.create("a", size_bytes=1 << 50)


async def test_the_room_of_what_has_expired_is_free_without_a_look_at_everything(parts: WayIn, disk: SmallDisk) -> None:
    upload = (await parts.receiver.create("a", size_bytes=10_000)).upload
    parts.clock.jump(timedelta(days=1))
    assert await parts.receiver.expire(upload, dry_run=True)
    with pytest.raises(StorageFull):
        await parts.receiver.create("b", size_bytes=1)
    looks = disk.looks
    assert await parts.receiver.expire(upload)
    await parts.receiver.create("c", size_bytes=10_000)
    assert disk.looks == looks


class Bucket(LocalBlobs):
    """A store that does not tell how much room it has."""

    async def free_bytes(self) -> int | None:  # type: ignore[override]  # as those that keep bytes in buckets
        return None


async def test_nobody_declares_more_than_can_be_added_up(tmp_path: Path) -> None:
    """Sums of what is declared have to fit into 64 bits: else no upload could begin any more, nor the server start."""
    most = 10**18 - 1
    limited = Allowances(instance=Allowance(max_unfinished=1000))
    for _ in range(2):
        async with way_in(tmp_path, Bucket(tmp_path / "blobs"), allowances=limited) as parts:
            await parts.usages.count_anew()
            outcomes = await asyncio.gather(
                *(parts.receiver.create("large", size_bytes=most) for _ in range(12)), return_exceptions=True
            )
            assert sum(isinstance(outcome, StorageFull) for outcome in outcomes) >= 11
            part = await parts.receiver.create("part", size_bytes=10**16, concat="partial")
            with pytest.raises(StorageFull):
                await parts.receiver.create(
                    "whole", size_bytes=None, concat="final;" + f" /uploads/{part.upload.id}" * 600
                )
            whole = await parts.receiver.create("small", size_bytes=5)
            assert (await parts.receiver.receive(whole.upload.id, 0, body(b"12345"), length=5)).complete
