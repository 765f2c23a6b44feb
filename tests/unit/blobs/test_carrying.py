"""Staged bytes on their way into the final place: how far they are, and what is not done twice."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from obstore.store import MemoryStore

from penstock.blobs.base import BlobUnavailable
from penstock.blobs.carrying import Carrier
from penstock.blobs.handover import Handover, HandoverStage
from penstock.blobs.local import LocalBlobs
from penstock.blobs.objects.place import ObjectPlace
from penstock.testing.blob_contract.opening import new_blob

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

MIB = 1024 * 1024
BODY = random.Random(8).randbytes(9 * MIB)
READING, COPYING, VERIFYING = HandoverStage.READING, HandoverStage.COPYING, HandoverStage.VERIFYING


class Place(ObjectPlace):
    """A bucket in memory that fails as it is told."""

    def __init__(self) -> None:
        store = MemoryStore()
        super().__init__(store, store, name="the bucket", prefix="")
        self.cuts: list[int] = []
        """After how many bytes the next readings are cut."""
        self.refuses = 0
        """How many objects it will not take."""
        self.read_bytes = 0

    async def put(self, *arguments: Any, **named: Any) -> None:
        if self.refuses:
            self.refuses -= 1
            raise BlobUnavailable("the bucket is away")
        await super().put(*arguments, **named)

    async def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        left = self.cuts.pop(0) if self.cuts else None
        async for piece in super().read(upload_id, start=start, stop=stop):
            if left is not None and len(piece) > left:
                raise BlobUnavailable("cut")
            left = None if left is None else left - len(piece)
            self.read_bytes += len(piece)
            yield piece


class Site:
    """A carrier, from a folder into a bucket, and what was seen of it."""

    def __init__(self, staging: LocalBlobs, final: Place) -> None:
        self.staging = staging
        self.final = final
        self.carrier = Carrier(staging, final)
        self.seen: list[Handover] = []
        self.reads = 0

    def look(self) -> None:
        self.seen += self.carrier.handovers.all().values()

    def stages(self) -> list[HandoverStage]:
        found, self.seen = self.seen, []
        return [one.stage for index, one in enumerate(found) if not index or found[index - 1].stage is not one.stage]

    async def release(self, upload: str) -> None:
        with self.carrier.handovers.watch(self.look):
            await self.carrier.release(upload)


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr("penstock.blobs.handover.TOLD_SECONDS", 0.0)
    async with LocalBlobs(tmp_path) as staging:
        yield Site(staging, Place())


async def test_each_stage_is_seen_and_never_less_than_before(site: Site) -> None:
    upload = await new_blob(site.staging, BODY)
    await site.release(upload)
    shares = [one.fraction for one in site.seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert site.stages() == [HandoverStage.WAITING, READING, COPYING, VERIFYING]
    assert site.carrier.handovers.all() == {}


async def test_what_has_arrived_is_less_than_what_was_sent_as_long_as_some_is_on_its_way(site: Site) -> None:
    arrived = list[int]()

    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(64):
            yield bytes(MIB)

    await site.final.put("a" * 32, pieces(), size_bytes=64 * MIB, sha256="", arrived=arrived.append)
    assert arrived == sorted(set(arrived))
    assert arrived[-1] == 16 * MIB  # four parts on their way, one that fills, and what was taken last


async def test_the_next_try_does_not_hash_what_is_staged_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await new_blob(site.staging, BODY)
    site.final.refuses = 2
    for _ in range(2):
        with pytest.raises(BlobUnavailable):
            await site.release(upload)
    assert site.stages() == [HandoverStage.WAITING, READING, COPYING, HandoverStage.WAITING, COPYING]
    await site.release(upload)
    assert READING not in site.stages()
    await site.release(upload)
    assert site.stages() == [HandoverStage.WAITING, READING, VERIFYING]  # once it was there, nothing is remembered


async def test_a_sum_that_nothing_fits_is_not_remembered(site: Site) -> None:
    """What is staged may have been damaged since it was hashed: another try has to see that."""
    upload = await new_blob(site.staging, BODY)
    site.final.refuses = 1
    with pytest.raises(BlobUnavailable):
        await site.release(upload)
    site.staging.path(upload).write_bytes(BODY[::-1])
    with pytest.raises(BlobUnavailable, match="other bytes"):
        await site.release(upload)
    await site.release(upload)
    assert b"".join([piece async for piece in site.final.read(upload)]) == BODY[::-1]


async def test_reading_back_goes_on_where_it_was_cut(site: Site) -> None:
    upload = await new_blob(site.staging, BODY)
    site.final.cuts = [4 * MIB, 2 * MIB]
    await site.release(upload)
    assert site.final.read_bytes == len(BODY)
    assert not site.final.cuts


async def test_reading_back_ends_when_nothing_comes_any_more(site: Site) -> None:
    upload = await new_blob(site.staging, BODY)
    site.final.cuts = [4 * MIB, 0]
    with pytest.raises(BlobUnavailable, match="cut"):
        await site.release(upload)
    assert not site.final.cuts
    site.final.read_bytes = 0
    await site.release(upload)
    assert site.final.read_bytes == len(BODY)
