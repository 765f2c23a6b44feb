"""Garbage collection on real parts: finds what nobody needs, and never takes what somebody does."""

from __future__ import annotations

import os
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobMissing, BlobUnavailable
from penstock.db import Database, DatabaseUnavailable
from penstock.errors import InvalidRequest
from penstock.ids import new_upload_id
from penstock.testing.faults import Faults, Killed, die, fail
from penstock.uploads.garbage.collecting import Collecting, Looked, Means
from penstock.uploads.garbage.collection import Kind, Report
from penstock.uploads.garbage.collector import Collector
from penstock.uploads.garbage.orphans import Orphans
from penstock.uploads.steady import SteadyTime
from penstock.uploads.upload import Phase

from ..whole_life import BODY, LIFETIME, RETENTION, Outside, Process, process
from .test_expiry import in_phase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from penstock.blobs.inventory import Found

DAY = timedelta(days=1)


class World:
    """A process, and collections in it. Files are as old as the clock says that they are."""

    def __init__(self, alive: Process, database: Database, folder: Path, faults: Faults, *, serving: bool) -> None:
        self.alive = alive
        self.folder = folder / "blobs"
        catalogue, blobs = faults.wrap("catalogue", alive.catalogue), faults.wrap("blobs", alive.blobs)
        self.means = Means(
            catalogue=catalogue,
            blobs=blobs,
            gateway=alive.gateway,
            receiver=alive.gateway,
            noticed=faults.wrap("noticed", Orphans(database, where="gc")),
            time=SteadyTime(alive.clock, believed_after=DAY),
            retention=RETENTION,
            records=alive.outside.records,
            serving=serving,
        )
        self.collector = Collector(self.means, older_than=DAY)

    async def collect(self, *, dry_run: bool = False, strays: bool = True) -> Report:
        return await self.collector.collect(dry_run=dry_run, strays=strays)

    def written(self, age: timedelta = timedelta()) -> None:
        """Have all files be written so long ago, by the clock of the test."""
        at = (self.alive.clock.now() - age).timestamp()
        for path in self.folder.rglob("*"):
            if path.is_file():
                os.utime(path, (at, at))

    def file(self, upload_id: str, stage: str = "staged") -> Path:
        return self.folder / stage / upload_id[:2] / upload_id


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path / 'penstock.db'}") as opened:
        yield opened


@pytest.fixture
async def world(tmp_path: Path, faults: Faults, database: Database) -> AsyncIterator[World]:
    async with process(tmp_path, Outside(), faults) as alive:
        yield World(alive, database, tmp_path, faults, serving=True)


def counts(report: Report) -> dict[Kind, tuple[int, int, int]]:
    return {total.kind: (total.found, total.done, total.kept) for total in report.totals}


@pytest.mark.parametrize("phase", [Phase.RECEIVING, Phase.PROCESSING, Phase.RELEASED, Phase.REJECTED])
async def test_what_is_alive_stays_however_old_it_is(world: World, phase: Phase) -> None:
    await in_phase(world.alive, phase)
    world.written(3650 * DAY)
    for _ in range(3):
        report = await world.collect()
        assert counts(report) == {}
        await world.alive.clock.advance(LIFETIME / 4)
    assert await world.alive.content() == (BODY[:3] if phase is Phase.RECEIVING else BODY)


async def test_an_unfinished_upload_expires_but_not_because_the_clock_jumped(world: World) -> None:
    await in_phase(world.alive, Phase.RECEIVING)
    world.alive.clock.jump(365 * DAY)
    assert counts(await world.collect()) == {}
    world.alive.clock.jump(-365 * DAY)
    await world.alive.clock.advance(LIFETIME)
    assert counts(await world.collect(dry_run=True)) == {Kind.EXPIRED: (1, 0, 0)}
    report = await world.collect()
    assert (report.found, report.size_bytes, report.freed_bytes) == (1, 3, 3)
    with pytest.raises(BlobMissing):
        await world.alive.blobs.length(world.alive.upload_id)


async def test_entries_go_after_the_retention(world: World) -> None:
    await in_phase(world.alive, Phase.CANCELLED)
    await world.alive.clock.advance(RETENTION)
    assert counts(await world.collect(dry_run=True)) == {Kind.FORGOTTEN: (1, 0, 0)}
    assert counts(await world.collect()) == {Kind.FORGOTTEN: (1, 1, 0)}
    assert await world.alive.upload() is None


@pytest.mark.parametrize("stage", ["staged", "released"])
async def test_bytes_without_an_entry_go_once_they_are_old_and_were_noticed_long_ago(world: World, stage: str) -> None:
    orphan = world.file(new_upload_id(), stage)
    orphan.write_bytes(BODY)
    kind = Kind.ORPHAN if stage == "staged" else Kind.STRAY
    world.written(3650 * DAY)
    assert counts(await world.collect(dry_run=True)) == {kind: (0, 0, 1)}
    assert counts(await world.collect()) == {kind: (0, 0, 1)}
    await world.alive.clock.advance(DAY)
    world.written()
    assert counts(await world.collect()) == {kind: (0, 0, 1)}, "it was written a moment ago"
    world.written(DAY)
    assert counts(await world.collect(dry_run=True)) == {kind: (1, 0, 0)}
    assert orphan.exists()
    assert counts(await world.collect()) == {kind: (1, 1, 0)}
    assert not orphan.exists()
    assert counts(await world.collect()) == {}


async def test_pieces_of_an_upload_that_nobody_knows_go_and_those_of_one_that_is_alive_stay(world: World) -> None:
    """As several instances on one volume leave them behind."""
    await in_phase(world.alive, Phase.RECEIVING)
    orphan, alive = new_upload_id(), world.alive.upload_id
    for upload in (orphan, alive):
        for name in ("1", "1.0123abcd", "2.4567cdef", "2.4567cdef.fence"):
            world.file(upload).with_name(f"{upload}.{name}").write_bytes(b"3 none")
    world.written(3650 * DAY)
    assert counts(await world.collect()) == {Kind.ORPHAN: (0, 0, 1)}
    await world.alive.clock.advance(LIFETIME / 2)
    world.written(3650 * DAY)

    async def collected(*, dry_run: bool) -> dict[Kind, tuple[int, int, int]]:
        return counts(await world.collector.collect(dry_run=dry_run, older_than=timedelta(minutes=5)))

    assert await collected(dry_run=True) == {Kind.ORPHAN: (1, 0, 0)}
    assert len(list(world.folder.rglob(f"{orphan}*"))) == 4
    assert await collected(dry_run=False) == {Kind.ORPHAN: (1, 1, 0)}
    assert list(world.folder.rglob(f"{orphan}*")) == []
    assert len(list(world.folder.rglob(f"{alive}*"))) == 5
    assert await world.alive.content() == BODY[:3]


@pytest.mark.parametrize("phase", [None, Phase.CANCELLED])
async def test_a_mark_goes_with_what_it_is_about(world: World, phase: Phase | None) -> None:
    """In whichever order the system lists the two: what a dry run tells of is all that goes, and it does."""
    if phase is not None:
        await in_phase(world.alive, phase)
    left, kind = world.file(world.alive.upload_id), Kind.ORPHAN if phase is None else Kind.LEFTOVER
    left.write_bytes(BODY)
    left.with_name(f"{left.name}.tentative").write_bytes(b"3\n")
    world.written(3650 * DAY)
    await world.collect(dry_run=phase is not None)
    await world.alive.clock.advance(2 * DAY)
    world.written(2 * DAY)
    assert counts(await world.collect(dry_run=True)) == {kind: (1, 0, 0)}
    assert counts(await world.collect()) == {kind: (1, 1, 0)}
    assert [path for path in world.folder.rglob("*") if path.is_file()] == []


async def test_what_cannot_be_removed_holds_up_nothing_else(world: World, faults: Faults) -> None:
    for _ in range(3):
        world.file(new_upload_id()).write_bytes(BODY)
    await in_phase(world.alive, Phase.CANCELLED)
    world.written(3650 * DAY)
    await world.collect()
    await world.alive.clock.advance(RETENTION)
    world.written(3650 * DAY)
    faults.before("blobs.remove_found", fail(BlobUnavailable("input/output error")), number=1)
    faults.before("catalogue.forget", fail(DatabaseUnavailable("away")), number=1)
    report = await world.collect()
    assert counts(report) == {Kind.ORPHAN: (2, 2, 1)}
    assert report.failed == 1
    assert report.notes == ["Not all old entries were looked at: away"]
    assert sum(find.failed for find in report.finds) == 1
    assert counts(await world.collect()) == {Kind.ORPHAN: (1, 1, 0), Kind.FORGOTTEN: (1, 1, 0)}


async def test_an_older_database_that_was_put_back_costs_no_released_file(world: World, faults: Faults) -> None:
    """What was released since the backup has no entry: by itself, nothing of it is ever removed."""
    stray = world.file(new_upload_id(), "released")
    stray.write_bytes(BODY)
    world.written(3650 * DAY)
    for _ in range(10):
        await world.collect(strays=False)
        await world.alive.clock.advance(30 * DAY)
    assert stray.read_bytes() == BODY
    (find,) = (await world.collect(dry_run=True, strays=False)).finds
    assert (find.kind, find.kept) == (Kind.STRAY, True)


async def test_a_clock_that_jumps_after_bytes_were_noticed_does_not_remove_them(world: World) -> None:
    orphan = world.file(new_upload_id())
    orphan.write_bytes(BODY)
    world.written(2 * DAY)
    await world.collect()
    world.alive.clock.jump(365 * DAY)
    assert counts(await world.collect()) == {Kind.ORPHAN: (0, 0, 1)}
    world.alive.clock.jump(-730 * DAY)
    assert counts(await world.collect()) == {Kind.ORPHAN: (0, 0, 1)}
    assert orphan.read_bytes() == BODY


async def test_an_upload_that_is_created_between_list_and_question_lives(world: World, faults: Faults) -> None:
    """At every point between the two at which its entry can come."""
    alive = world.alive
    await alive.blobs.create(alive.upload_id)
    world.written(3650 * DAY)
    await world.collect()
    await alive.clock.advance(2 * DAY)

    async def entered() -> None:
        await alive.begin()

    async with aclosing(world.collector.news(dry_run=False)) as news:
        async for one in news:
            if isinstance(one, Looked) and one.stage == "storage" and await alive.upload() is None:
                await entered()
    assert await alive.blobs.length(alive.upload_id) == 0
    assert (await alive.upload()) is not None


async def test_what_was_written_anew_since_it_was_found_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = world.file(new_upload_id())
    orphan.write_bytes(BODY)
    world.written(3650 * DAY)
    await world.collect()
    await world.alive.clock.advance(2 * DAY)
    remove = world.alive.blobs.remove_found

    async def after_a_write(found: Found) -> bool:
        orphan.write_bytes(BODY + b"more")
        return await remove(found)

    monkeypatch.setattr(world.alive.blobs, "remove_found", after_a_write)
    assert counts(await world.collect()) == {Kind.ORPHAN: (1, 0, 0)}
    assert orphan.read_bytes() == BODY + b"more"


async def test_bytes_of_what_was_given_up_and_files_that_a_death_has_left_go(world: World) -> None:
    await in_phase(world.alive, Phase.CANCELLED)
    given_up = world.file(world.alive.upload_id)
    given_up.write_bytes(BODY)
    (world.folder / "staged" / ".writable-17").write_bytes(b"")
    world.written(2 * DAY)
    (world.folder / "staged" / "ab" / "somebody's").write_bytes(b"not ours")
    assert counts(await world.collect()) == {Kind.LEFTOVER: (1, 1, 0), Kind.TEMPORARY: (1, 1, 0)}
    assert [path.name for path in world.folder.rglob("*") if path.is_file()] == ["somebody's"]


@pytest.mark.parametrize("staged", [BODY, BODY[:3], b""])
async def test_what_is_staged_beside_what_was_released_goes_and_nothing_is_released_again(
    world: World, faults: Faults, staged: bytes
) -> None:
    await in_phase(world.alive, Phase.RELEASED)
    faults.counts.clear()
    left = world.file(world.alive.upload_id)
    left.write_bytes(staged)
    world.written(2 * DAY)
    assert counts(await world.collect(dry_run=True)) == {Kind.LEFTOVER: (1, 0, 0)}
    assert left.exists()
    report = await world.collect()
    assert (counts(report), report.freed_bytes) == ({Kind.LEFTOVER: (1, 1, 0)}, len(staged))
    assert not left.exists()
    assert await world.alive.content() == BODY
    assert faults.counts["blobs.release"] == faults.counts["blobs.read"] == 0


async def test_what_is_not_as_it_was_released_stays_and_a_dry_run_says_so(world: World) -> None:
    await in_phase(world.alive, Phase.RELEASED)
    world.file(world.alive.upload_id, "released").rename(world.folder / "away")
    world.file(world.alive.upload_id).write_bytes(BODY[:3])
    world.written(2 * DAY)
    for dry_run in (True, False):
        (find,) = (await world.collect(dry_run=dry_run)).finds
        assert (find.kind, find.kept, find.failed) == (Kind.LEFTOVER, True, True)
        assert f"was released with {len(BODY)} bytes, but 3 are staged, and none are" in find.detail
    assert world.file(world.alive.upload_id).read_bytes() == BODY[:3]


async def test_without_a_server_a_dry_run_tells_that_processing_begins_with_the_next_one(
    world: World, database: Database, faults: Faults
) -> None:
    await world.alive.begin()
    await world.alive.fill()
    await world.alive.clock.advance(LIFETIME / 2)
    alone = World(world.alive, database, world.folder.parent, faults, serving=False)
    for dry_run in (True, False):
        report = await alone.collector.collect(dry_run=dry_run, older_than=timedelta(minutes=5))
        assert counts(report) == {Kind.UNPROCESSED: (0, 0, 1)}


async def test_what_was_complete_but_never_begun_is_processed(world: World) -> None:
    await world.alive.begin()
    await world.alive.fill()
    await world.alive.clock.advance(LIFETIME / 2)
    assert counts(await world.collect()) == {}, "it may be in the making"
    report = await world.collector.collect(dry_run=False, older_than=timedelta(minutes=5))
    assert counts(report) == {Kind.UNPROCESSED: (1, 1, 0)}
    assert report.freed_bytes == 0
    await world.alive.settle()
    upload = await world.alive.upload()
    assert upload is not None
    assert upload.phase is Phase.RELEASED


async def test_what_is_in_processing_without_a_record_begins_again(world: World) -> None:
    alive = world.alive
    await in_phase(alive, Phase.PROCESSING)
    alive.outside.bus.waiting.clear()  # lost, and nobody says it again
    await alive.clock.advance(DAY)
    assert counts(await world.collect(dry_run=True)) == {Kind.UNPROCESSED: (1, 0, 0)}
    assert counts(await world.collect()) == {Kind.UNPROCESSED: (1, 1, 0)}
    await alive.settle()
    upload = await alive.upload()
    assert upload is not None
    assert (upload.phase, upload.run) == (Phase.RELEASED, 2)


async def test_two_collections_at_once_begin_it_again_once(world: World) -> None:
    await in_phase(world.alive, Phase.PROCESSING)
    found = await world.alive.upload()
    assert found is not None
    for _ in range(2):  # both have listed it before either of them has begun it
        collecting = Collecting(world.means, dry_run=False, older_than=DAY, strays=True)
        assert (await collecting._begin(found, "")).done
    begun = await world.alive.upload()
    assert begun is not None
    assert begun.run == 2


async def test_what_cannot_be_removed_or_listed_is_told(world: World, faults: Faults) -> None:
    orphan = world.file(new_upload_id())
    orphan.write_bytes(BODY)
    world.written(3650 * DAY)
    await world.collect()
    await world.alive.clock.advance(2 * DAY)
    faults.before("blobs.remove_found", fail(BlobUnavailable("input/output error")), number=1)
    (find,) = (await world.collect()).finds
    assert (find.kept, find.failed, find.detail) == (True, True, "input/output error")
    faults.before("blobs.inventory", fail(BlobUnavailable("away")), number=1)
    report = await world.collect()
    assert report.notes == ["Not all was looked at: away"]
    assert counts(await world.collect()) == {Kind.ORPHAN: (1, 1, 0)}, "it was forgotten that it was noticed"


async def test_death_at_any_call_of_a_collection_is_made_good_by_the_next(world: World, database: Database) -> None:
    """What is alive stays whole, and of the rest nothing is left."""
    alive, expected = world.alive, [world.alive.upload_id]
    await in_phase(alive, Phase.REJECTED)

    async def garbage() -> None:
        """Lay out one of each kind, noticed long ago."""
        for name in (new_upload_id(), f"{new_upload_id()}.1"):
            world.file(name[:32]).with_name(name).write_bytes(BODY)
        (world.folder / "staged" / ".writable-17").write_bytes(b"")
        world.written(2 * DAY)
        await world.collect()
        await alive.clock.advance(timedelta(minutes=6))

    async def collected(faults: Faults) -> Report:
        again = World(alive, database, world.folder.parent, faults, serving=True)
        return await again.collector.collect(dry_run=False, older_than=timedelta(minutes=5))

    await garbage()
    untroubled = Faults()
    assert (await collected(untroubled)).done == 2
    calls = [name for name in untroubled.counts if not name.endswith(".next")]
    assert {"blobs.remove_found", "noticed.remember", "noticed.forget", "catalogue.get_many"} <= set(calls)
    for call in calls:
        for plan in ("before", "after"):
            await garbage()
            faults = Faults()
            getattr(faults, plan)(call, die(), number=1)
            with pytest.raises(Killed):
                await collected(faults)
            await collected(Faults())
            left = [path.name for path in world.folder.rglob("*") if path.is_file()]
            assert left == expected, (plan, call)
            assert await alive.content() == BODY


async def test_an_age_that_is_too_short_is_refused(world: World) -> None:
    with pytest.raises(InvalidRequest):
        await world.collector.collect(dry_run=True, older_than=timedelta(minutes=1))
