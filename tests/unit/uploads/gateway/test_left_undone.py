"""What a death or a bus has left undone with uploads is done at the next start: all of it, and no more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from penstock.blobs.base import BlobUnavailable
from penstock.core.progress import Progress, Status
from penstock.store.base import StoreUnavailable
from penstock.store.memory import MemoryStore
from penstock.testing import eventually
from penstock.uploads.gateway import left_undone
from penstock.uploads.gateway.runs import run_id

from ..way_in import body, way_in

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def begun(folder: Path, number: int) -> list[str]:
    """Have uploads in processing, and a bus that has forgotten them."""
    async with way_in(folder) as parts:
        created = [await parts.receiver.create("f", size_bytes=1) for _ in range(number)]
        for one in created:
            await parts.receiver.receive(one.upload.id, 0, body(b"a"), length=1)
    return [one.upload.id for one in created]


async def recorded(store: MemoryStore, upload_id: str, began_by: str) -> None:
    progress = Progress(upload_id=upload_id, steps=("ocr",), status=Status("ocr"), run_id=began_by)
    await store.save(progress, expected=None)


async def test_what_the_coordinator_has_a_record_of_is_not_announced_once_more(tmp_path: Path) -> None:
    known, unknown, restarted, foreign = await begun(tmp_path, 4)
    store = MemoryStore()
    await recorded(store, known, run_id(known, 1))
    await recorded(store, restarted, run_id(restarted, 7))
    await recorded(store, foreign, "")  # by a Go instance
    async with way_in(tmp_path, records=store) as parts:
        for _ in range(2):
            await parts.gateway.reconcile()
            await parts.gateway.catch_up()
        await eventually(lambda: {one.upload_id for one in parts.announced} == {unknown, restarted, foreign})
        assert len(parts.announced) == 3


async def test_all_is_announced_where_the_records_cannot_be_seen(tmp_path: Path) -> None:
    uploads = await begun(tmp_path, 3)

    class Away(MemoryStore):
        async def get_many(self, upload_ids: Any) -> Any:
            raise StoreUnavailable("away")

    with capture_logs() as logs:
        async with way_in(tmp_path, records=Away()) as parts:
            await parts.gateway.reconcile()
            await eventually(lambda: {one.upload_id for one in parts.announced} == set(uploads))
    assert "records_not_seen" in [line["event"] for line in logs]


async def test_a_start_looks_at_no_more_than_it_has_time_for(tmp_path: Path) -> None:
    uploads = await begun(tmp_path, 2)

    class Counting(MemoryStore):
        asked = 0

        async def get_many(self, upload_ids: Any) -> Any:
            self.asked += 1
            return await super().get_many(upload_ids)

    store = Counting()
    async with way_in(tmp_path, records=store) as parts:
        await parts.gateway.catch_up(patience=timedelta(seconds=-1))
        assert (store.asked, parts.announced) == (0, [])
        await parts.gateway.catch_up()
        await eventually(lambda: {one.upload_id for one in parts.announced} == set(uploads))


async def test_a_storage_that_is_away_holds_up_nothing_that_is_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    async with way_in(tmp_path) as parts:
        damaged: set[str] = set()

        async def discard(upload_id: str, *, only_staged: bool = False) -> None:
            asked.append(upload_id)
            if upload_id in damaged:
                raise BlobUnavailable("away")

        monkeypatch.setattr(parts.blobs, "discard", discard)
        for _ in range(5):
            upload = (await parts.receiver.create("f", size_bytes=1)).upload
            damaged.add(upload.id)
            await parts.receiver.terminate(upload.id)
        assert len(asked) == 5
        await parts.gateway.catch_up()
        assert len(asked) == 5 + 3
        await parts.gateway.catch_up(patience=timedelta(seconds=-1))
        assert len(asked) == 5 + 3
        for _ in range(2):
            damaged.pop()
        while [one async for batch in parts.catalogue.to_discard() for one in batch if one.id not in damaged]:
            await parts.gateway.catch_up()


async def test_who_announces_a_lot_rests_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await begun(tmp_path, 5)
    rests: list[timedelta] = []
    monkeypatch.setattr(left_undone, "_STRETCH", 2)
    async with way_in(tmp_path) as parts:

        async def rest(duration: timedelta) -> None:
            rests.append(duration)

        monkeypatch.setattr(parts.clock, "sleep", rest)
        await parts.gateway.catch_up()
        await eventually(lambda: len(parts.announced) == 5)
    assert len(rests) == 2
