from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from penstock.blobs.base import BlobMissing, BlobUnavailable
from penstock.blobs.links import Copy, Lending
from penstock.blobs.local import LocalBlobs
from penstock.core.progress import ENDED, FINISHED, RETRYING, Progress, Status
from penstock.delivery.sending.base import NotDelivered
from penstock.delivery.sending.digests import Digests
from penstock.delivery.sending.presigned import PresignedWay, Returns
from penstock.delivery.sending.tokens import Tokens
from penstock.events.types import StartPostprocessingStep
from penstock.store.memory import MemoryStore
from penstock.testing import ManualClock, eventually


class Shelf(Lending):
    """Copies in memory."""

    name = "a shelf"

    def __init__(self, *upload_ids: str) -> None:
        self.content = dict.fromkeys(upload_ids, b"x")
        self.versions = Counter[str]()
        self.puts = 0
        self.reads = 0
        self.spoils = False
        """Whether it keeps other bytes than it is sent."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing is held open."""

    async def put(
        self,
        upload_id: str,
        pieces: AsyncGenerator[bytes, None],
        *,
        size_bytes: int,
        sha256: str,
        arrived: Callable[[int], None] | None = None,
    ) -> None:
        del size_bytes, sha256, arrived
        self.puts += 1
        body = b"".join([piece async for piece in pieces])
        self.change(upload_id, b"x" * len(body) if self.spoils else body)

    def change(self, upload_id: str, body: bytes) -> None:
        self.versions[upload_id] += 1
        self.content[upload_id] = body

    async def size(self, upload_id: str) -> int:
        if upload_id not in self.content:
            raise BlobMissing(upload_id)
        return len(self.content[upload_id])

    async def copy(self, upload_id: str) -> Copy:
        return Copy(await self.size(upload_id), str(self.versions[upload_id]))

    async def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        yield self.content[upload_id][start:stop]

    async def remove(self, upload_id: str) -> None:
        self.content.pop(upload_id, None)

    async def check(self) -> None:
        """It is always there."""

    async def link(self, upload_id: str, *, life: timedelta) -> str:
        return f"https://shelf/{upload_id}?for={life}"

    async def kept(self) -> list[str]:
        return list(self.content)


async def test_copies_that_no_step_waits_for_are_removed() -> None:
    states = {
        "step": Status("ocr"),
        "backoff": Status("ocr", RETRYING),
        "delay": Status("delay"),
        "decided": Status(FINISHED, "continue"),
        "ended": Status(ENDED),
    }
    async with MemoryStore() as store:
        for upload_id, status in states.items():
            progress = Progress(upload_id=upload_id, status=status, finished=upload_id == "ended")
            await store.save(progress, expected=None)
        shelf = Shelf(*states, "unknown")
        assert await Returns(shelf, store, ManualClock()).collect() == 3
        assert sorted(shelf.content) == ["backoff", "delay", "step"]
        assert await Returns(shelf, store, ManualClock()).collect() == 0


async def test_a_copy_that_cannot_be_removed_holds_up_no_other() -> None:
    class StuckShelf(Shelf):
        async def remove(self, upload_id: str) -> None:
            if upload_id == "first":
                raise BlobUnavailable("away")
            await super().remove(upload_id)

    shelf = StuckShelf("first", "second")
    async with MemoryStore() as store:
        with pytest.raises(BlobUnavailable, match="away"):
            await Returns(shelf, store, ManualClock()).collect()
    assert list(shelf.content) == ["first"]


async def test_a_mistake_is_not_the_end_of_looking() -> None:
    class BadShelf(Shelf):
        looked = 0

        async def kept(self) -> list[str]:
            self.looked += 1
            if self.looked == 1:
                raise ValueError("no such answer was expected")
            return await super().kept()

    shelf, clock = BadShelf("unknown"), ManualClock()
    async with MemoryStore() as store:
        looking = asyncio.ensure_future(Returns(shelf, store, clock).run())
        await clock.advance(timedelta(minutes=2))
        await eventually(lambda: not shelf.content)
        assert not looking.done()
        looking.cancel()
        await asyncio.wait([looking])


UPLOAD, BODY = "a" * 32, b"0123456789" * 100
START = StartPostprocessingStep(upload_id=UPLOAD, filesize=len(BODY), step_to_start="ocr")


def nobody(fraction: float | None, message: str) -> None:
    del fraction, message


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path / "blobs") as blobs:
        await blobs.create(UPLOAD)
        async with blobs.append(UPLOAD, 0) as appender:
            await appender.write(BODY)
        yield blobs


def lending(shelf: Shelf, blobs: LocalBlobs) -> PresignedWay:
    return PresignedWay(
        "https://gate", Tokens(b"k" * 32), lending=shelf, blobs=blobs, digests=Digests(blobs), life=timedelta(seconds=9)
    )


async def test_a_copy_is_verified_once_while_it_is_the_same(blobs: LocalBlobs) -> None:
    shelf = Shelf()
    way = lending(shelf, blobs)
    await way.address(START, "s1", nobody)
    assert await way.link(UPLOAD, len(BODY)) == f"https://shelf/{UPLOAD}?for=0:00:09"
    await way.address(START, "s2", nobody)
    assert (shelf.puts, shelf.reads) == (1, 1)


async def test_a_copy_that_was_changed_is_not_lent_again(blobs: LocalBlobs) -> None:
    """Of the same size, so only its version tells."""
    shelf = Shelf()
    way = lending(shelf, blobs)
    await way.address(START, "s1", nobody)
    shelf.change(UPLOAD, BODY[::-1])
    await way.address(START, "s2", nobody)
    assert shelf.content[UPLOAD] == BODY
    shelf.change(UPLOAD, BODY[::-1])
    await way.link(UPLOAD, len(BODY))
    assert (shelf.content[UPLOAD], shelf.puts) == (BODY, 3)
    shelf.content.clear()
    await way.link(UPLOAD, len(BODY))
    assert shelf.content[UPLOAD] == BODY


async def test_a_copy_from_before_a_restart_is_read_before_it_is_lent(blobs: LocalBlobs) -> None:
    shelf = Shelf()
    await lending(shelf, blobs).address(START, "s1", nobody)
    await lending(shelf, blobs).link(UPLOAD, len(BODY))
    assert (shelf.puts, shelf.reads) == (1, 2)
    shelf.change(UPLOAD, b"x" * len(BODY))
    await lending(shelf, blobs).address(START, "s1", nobody)
    assert (shelf.content[UPLOAD], shelf.puts) == (BODY, 2)


async def test_a_store_that_gives_other_bytes_back_lends_nothing(blobs: LocalBlobs) -> None:
    shelf = Shelf()
    shelf.spoils = True
    with pytest.raises(NotDelivered, match="a shelf gives other bytes back") as found:
        await lending(shelf, blobs).address(START, "s1", nobody)
    assert "shelf" not in found.value.told
    with pytest.raises(BlobUnavailable):
        await lending(shelf, blobs).link(UPLOAD, len(BODY))
    assert shelf.content == {}
