from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Self

from penstock.blobs.base import BlobMissing
from penstock.blobs.links import Lending
from penstock.core.progress import ENDED, FINISHED, RETRYING, Progress, Status
from penstock.delivery.sending.presigned import Returns
from penstock.store.memory import MemoryStore
from penstock.testing import ManualClock


class Shelf(Lending):
    """Copies in memory."""

    name = "a shelf"

    def __init__(self, *upload_ids: str) -> None:
        self.content = dict.fromkeys(upload_ids, b"x")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing is held open."""

    async def put(self, upload_id: str, pieces: AsyncGenerator[bytes, None], *, size_bytes: int, sha256: str) -> None:
        del size_bytes, sha256
        self.content[upload_id] = b"".join([piece async for piece in pieces])

    async def size(self, upload_id: str) -> int:
        if upload_id not in self.content:
            raise BlobMissing(upload_id)
        return len(self.content[upload_id])

    async def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
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
