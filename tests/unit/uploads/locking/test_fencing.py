"""Which uploads are fenced off in the storage, and from whom."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.blobs.base import BlobMissing
from penstock.clock import SystemClock
from penstock.uploads.locking.fencing import BlobFences
from penstock.uploads.locking.leases import Lease
from penstock.uploads.upload import Phase, Upload

HERE = "this machine"


class Blobs:
    """Keeps what it is asked for; has no blob where it is told so."""

    def __init__(self, *, there: bool) -> None:
        self.there = there
        self.fenced: list[tuple[str, int | None, int | None]] = []

    async def fence(self, blob_id: str, kept_bytes: int | None, size_bytes: int | None, confirm: Any) -> None:
        if not self.there:
            raise BlobMissing(blob_id)
        await confirm()
        self.fenced.append((blob_id, kept_bytes, size_bytes))


class Known:
    """A catalogue of one upload, or none."""

    def __init__(self, phase: Phase | None) -> None:
        self.phase = phase

    async def get(self, upload_id: str) -> Upload | None:
        if self.phase is None:
            return None
        return Upload(id=upload_id, filename="a", size_bytes=10, created_at=SystemClock().now(), phase=self.phase)


async def fenced(phase: Phase | None, writer: str, *, there: bool = True) -> list[tuple[str, int | None, int | None]]:
    async def confirm() -> None: ...

    blobs: Any = Blobs(there=there)
    catalogue: Any = Known(phase)
    await BlobFences(catalogue, blobs, HERE).fence(Lease("u", 2, writer, 7), confirm)
    found: list[tuple[str, int | None, int | None]] = blobs.fenced
    return found


async def test_only_what_another_machine_has_kept_for_certain_counts() -> None:
    assert await fenced(Phase.RECEIVING, "another") == [("u", 7, 10)]


async def test_what_was_written_on_this_machine_is_seen_here_and_all_of_it_counts() -> None:
    assert await fenced(Phase.RECEIVING, HERE) == [("u", None, 10)]


@pytest.mark.parametrize("phase", [None, *(phase for phase in Phase if phase is not Phase.RECEIVING)])
async def test_nobody_writes_to_what_is_not_on_its_way_in_such_as_the_leaders_lease(phase: Phase | None) -> None:
    assert await fenced(phase, "another") == []


async def test_where_there_are_no_bytes_there_is_nothing_to_fence() -> None:
    assert await fenced(Phase.RECEIVING, "another", there=False) == []
