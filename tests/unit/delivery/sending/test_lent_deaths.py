"""Deaths at every call while a copy is lent, or taken back: the right bytes are lent, and nothing stays."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from obstore.store import MemoryStore as Objects

from penstock.blobs.local import LocalBlobs
from penstock.blobs.objects.place import ObjectPlace
from penstock.delivery.sending.digests import Digests
from penstock.delivery.sending.presigned import PresignedWay, Returns
from penstock.delivery.sending.tokens import Tokens
from penstock.events.types import StartPostprocessingStep
from penstock.ids import new_upload_id
from penstock.store.memory import MemoryStore
from penstock.testing import ManualClock
from penstock.testing.faults import Faults, Killed, die

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

BODY = random.Random(7).randbytes(600_000)


def nobody(fraction: float | None, message: str) -> None:
    del fraction, message


class Site:
    """Where copies are, and what outlives a process."""

    def __init__(self, blobs: LocalBlobs, store: MemoryStore) -> None:
        objects: Any = Objects()
        self.lending = ObjectPlace(objects, objects, name="a bucket", prefix="").lending()
        self.blobs = blobs
        self.store = store
        self.upload = new_upload_id()

    async def lend(self, faults: Faults) -> None:
        """Do what a process does before it says that a step starts."""
        blobs, lending = faults.wrap("blobs", self.blobs), faults.wrap("lending", self.lending)
        life = timedelta(minutes=1)
        way = PresignedWay(
            "https://gate", Tokens(b"k" * 32), lending=lending, blobs=blobs, digests=Digests(blobs), life=life
        )
        start = StartPostprocessingStep(upload_id=self.upload, filesize=len(BODY), step_to_start="ocr")
        await way.address(start, "s1", nobody)

    async def take_back(self, faults: Faults) -> None:
        """Do what a process does when no step waits any more."""
        lending, store = faults.wrap("lending", self.lending), faults.wrap("store", self.store)
        await Returns(lending, store, ManualClock()).collect()

    async def is_lent(self) -> bool:
        return b"".join([piece async for piece in self.lending.read(self.upload)]) == BODY


async def calls_of(work: Callable[[Faults], Awaitable[None]]) -> list[str]:
    faults = Faults()
    await work(faults)
    return list(faults.counts)


async def die_at(work: Callable[[Faults], Awaitable[None]], when: str, call: str) -> None:
    """Die at a call; at the second one if the first one fails, which has no "after"."""
    faults = Faults()
    for number in (1, 2):
        getattr(faults, when)(call, die(), number=number)
    with pytest.raises(Killed):
        await work(faults)


async def test_the_next_process_makes_it_good(tmp_path: Path) -> None:
    async with LocalBlobs(tmp_path) as blobs, MemoryStore() as store:
        site = Site(blobs, store)
        await blobs.create(site.upload)
        async with blobs.append(site.upload, 0) as out:
            await out.write(BODY)
        lends, returns = await calls_of(site.lend), await calls_of(site.take_back)
        assert {"lending.put", "lending.read", "lending.copy", "blobs.read"} <= set(lends)
        assert {"lending.kept", "lending.remove", "store.get_many"} <= set(returns)
        for when in ("before", "after"):
            for call in lends:
                if when == "after" and f"{call}.next" in lends:
                    continue  # it is not read to its end: who knows its size stops there
                await die_at(site.lend, when, call)
                await site.lend(Faults())
                assert await site.is_lent(), (when, call)
                await site.take_back(Faults())
                assert await site.lending.kept() == [], (when, call)
            for call in returns:
                await site.lend(Faults())
                await die_at(site.take_back, when, call)
                await site.take_back(Faults())
                assert await site.lending.kept() == [], (when, call)
        assert b"".join([piece async for piece in blobs.read(site.upload)]) == BODY
