"""Files by path: the rule of versions in every order, lists, moves and removals."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobUnavailable
from penstock.db import Database
from penstock.db.tables import uploads
from penstock.errors import NotFound
from penstock.uploads.allowances import Allowance, Allowances
from penstock.uploads.catalogue import paths
from penstock.uploads.catalogue.rows import changing_values, fixed_values, scan_values
from penstock.uploads.errors import QuotaExceeded
from penstock.uploads.file_errors import FileThere, OtherVersion, StillProcessing
from penstock.uploads.files.files import Files
from penstock.uploads.places import Place
from penstock.uploads.protocols.checksum import Checksum
from penstock.uploads.protocols.digests import as_metadata
from penstock.uploads.protocols.names import UnsafeName
from penstock.uploads.quotas.quota import Ledger
from penstock.uploads.upload import Phase, Upload

from ..filed import HERE, World, phase, pieces
from ..whole_life import Outside, process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy import Connection
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with process(tmp_path, Outside()) as alive, Database(f"sqlite:///{tmp_path / 'penstock.db'}") as database:
        yield World(alive, database, Ledger())


OUTCOMES = (("continue", "continue", "continue"), ("continue", "delete", "continue"))


async def test_the_newest_that_was_released_counts_in_every_order_of_their_ends(world: World) -> None:
    """After each end: of all that are released by then, the one that was created last is the file.

    With the real gateway and coordinator; `test_orders` has all orders of all events.
    """
    for number, (order, outcomes) in enumerate(itertools.product(itertools.permutations(range(3)), OUTCOMES)):
        place = Place("default", f"{number}.txt")
        created = [await world.create(place.path) for _ in range(3)]
        released: set[int] = set()
        expected: list[str] = []
        for index in order:
            outcome = outcomes[index]
            await world.end(created[index], outcome)
            if outcome == "continue":
                released.add(index)
            expected = [created[one] for one in sorted(released, reverse=True)]
            assert await world.versions(place) == expected, (order, outcomes)
        last = expected[-1]
        await world.files.restore(place, last)
        assert await world.versions(place) == [last, *expected[:-1]]


async def test_what_is_restored_stays_until_something_newer_comes(world: World) -> None:
    first, second = await world.put(), await world.put()
    late = await world.create()
    with pytest.raises(StillProcessing):
        await world.files.restore(HERE, first)
    await world.end(late, "abort")
    restored = await world.files.restore(HERE, first)
    assert restored.id == first
    assert await world.versions() == [first, second]
    await world.files.restore(HERE, second)
    await world.files.restore(HERE, first)
    assert await world.versions() == [first, second]
    newer = await world.put()
    assert await world.versions() == [newer, first, second]
    with pytest.raises(NotFound):
        await world.files.restore(HERE, "f" * 32)


async def test_an_upload_from_before_a_restoration_does_not_replace_it(world: World) -> None:
    first = await world.put()
    second = await world.put()
    late = await world.receiver.create(None, path="a.txt", size_bytes=0, explicit_end=True)
    await world.files.restore(HERE, first)
    await world.receiver.receive(late.upload.id, 0, pieces(), length=0, ends_upload=True)
    await world.end(late.upload.id)
    assert await world.versions() == [first, late.upload.id, second]


async def test_lists_are_by_path_with_folders(world: World) -> None:
    for path in ("b.txt", "a/2.txt", "a/1.txt", "a/x/3.txt", "a-b.txt", "é.txt", "A.txt", "a/1.txt"):
        await world.put(path)
    await world.put("elsewhere.txt", "lab")
    everything = ["A.txt", "a-b.txt", "a/1.txt", "a/2.txt", "a/x/3.txt", "b.txt", "é.txt"]
    for limit in (1, 2, 100):
        assert await world.names(limit=limit) == everything
        assert sorted(await world.names("a/", "/", limit)) == ["a/1.txt", "a/2.txt", "a/x/"]
        assert sorted(await world.names("", "/", limit)) == ["A.txt", "a-b.txt", "a/", "b.txt", "é.txt"]
        assert await world.names("a", limit=limit) == everything[1:5]
    assert await world.names("nothing/") == []
    assert await world.files.spaces() == (["default", "lab"], None)
    assert await world.files.spaces(limit=1, cursor="default") == (["lab"], "lab")


async def test_a_file_moves_with_its_versions(world: World) -> None:
    first, second = await world.put(), await world.put()
    target = Place("lab", "folder/b.txt")
    assert await world.files.move(HERE, target)
    assert (await world.versions(), await world.versions(target)) == ([], [second, first])
    moved = await world.files.get(target)
    assert (moved.filename, moved.file_path, moved.space) == ("b.txt", "folder/b.txt", "lab")
    third = await world.put()
    with pytest.raises(FileThere):
        await world.files.move(HERE, target, overwrite=False)
    with pytest.raises(OtherVersion):
        await world.files.move(HERE, target, match=first)
    assert await world.versions() == [third]
    assert not await world.files.move(HERE, target, match=third)
    assert await world.versions(target) == [third, second, first]
    with pytest.raises(NotFound):
        await world.files.move(HERE, target)
    assert not await world.files.move(target, target, overwrite=False)
    assert await world.versions(target) == [third, second, first]


async def test_what_is_in_processing_stays_where_it_is(world: World) -> None:
    coming = await world.create()
    other = await world.put("b.txt")
    for source, target in ((HERE, Place("default", "c.txt")), (Place("default", "b.txt"), HERE)):
        with pytest.raises(StillProcessing) as moving:
            await world.files.move(source, target)
        with pytest.raises(StillProcessing) as copying:
            await world.files.copy(source, target)
        assert str(moving.value) == str(copying.value)
    assert (await world.files.get(HERE)).id == coming
    await world.files.delete(HERE)
    assert await phase(world, coming) is Phase.CANCELLED
    await world.alive.settle()
    assert await phase(world, coming) is Phase.CANCELLED
    assert await world.files.move(Place("default", "b.txt"), HERE)
    assert await world.versions() == [other]


async def test_a_file_goes_with_its_versions_or_one_of_them(world: World) -> None:
    first, second, third = [await world.put() for _ in range(3)]
    await world.files.delete(HERE, version=second)
    assert await world.versions() == [third, first]
    with pytest.raises(NotFound):
        await world.files.delete(HERE, version=second)
    with pytest.raises(OtherVersion):
        await world.files.delete(HERE, match=first)
    await world.files.delete(HERE, version=third)
    assert await world.versions() == [first], "the one before counts again"
    await world.put()
    await world.files.delete(HERE)
    assert await world.versions() == []
    assert await world.alive.blobs.staged() == []
    with pytest.raises(NotFound):
        await world.files.delete(HERE)


async def test_a_copy_is_an_upload_of_the_same_content(world: World) -> None:
    original = await world.put(body=b"the same")
    target = Place("lab", "b.txt")
    standing = await world.files.copy(HERE, target, owner="bob")
    assert (standing.upload.phase, standing.upload.owner) == (Phase.PROCESSING, "bob")
    await world.end(standing.upload.id)
    assert await world.versions() == [original]
    (copied,) = (await world.files.versions(target)).versions
    assert copied.size_bytes == 8
    assert b"".join([piece async for piece in world.alive.blobs.read(copied.id)]) == b"the same"
    with pytest.raises(FileThere):
        await world.files.copy(HERE, target, overwrite=False)


async def test_a_copy_must_be_what_was_released(world: World) -> None:
    """Of what the storage has damaged, there is no copy: neither of another length nor of other bytes."""
    digest = as_metadata((Checksum("sha256", sha256(b"the same").digest()),))
    original = await world.put(body=b"the same", metadata=digest)
    copied = await world.files.copy(HERE, Place("lab", "b.txt"))
    assert copied.upload.metadata == digest
    path = world.alive.blobs.path(original)
    for damaged in (b"the sane", b"the sam"):
        path.chmod(0o600)
        path.write_bytes(damaged)
        with pytest.raises(BlobUnavailable, match="damaged"):
            await world.files.copy(HERE, Place("lab", "c.txt"))
        assert await world.versions(Place("lab", "c.txt")) == []
    assert (await world.alive.catalogue.counts())[Phase.RECEIVING] == 0


async def test_only_so_many_versions_are_kept(tmp_path: Path) -> None:
    async with process(tmp_path, Outside()) as alive, Database(f"sqlite:///{tmp_path / 'penstock.db'}") as database:
        world = World(alive, database, Ledger(), kept=2)
        versions = [await world.put() for _ in range(4)]
        other = await world.put("b.txt")
        assert await world.removal.prune() == 2
        assert await world.versions() == [versions[3], versions[2]]
        assert await world.versions(Place("default", "b.txt")) == [other]
        assert await world.removal.prune() == 0
        assert await phase(world, versions[0]) is Phase.CANCELLED


async def test_a_quota_goes_with_the_file(tmp_path: Path) -> None:
    ledger = Ledger(Allowances(each_space=Allowance(quota_bytes=10)))
    async with process(tmp_path, Outside()) as alive, Database(f"sqlite:///{tmp_path / 'penstock.db'}") as database:
        world = World(alive, database, ledger)
        alive.catalogue._ledger = ledger
        await world.put("1", "one", b"1234567")
        await world.put("2", "two", b"1234567")
        with pytest.raises(QuotaExceeded):
            await world.files.move(Place("one", "1"), Place("two", "1"))
        assert len(await world.versions(Place("one", "1"))) == 1
        assert await world.files.move(Place("one", "1"), Place("three", "1"))
        await world.put("3", "one", b"1234567890")
        with pytest.raises(QuotaExceeded):
            await world.put("3", "three", b"1234")


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/..", "a\x00b", "con/x", "a\\b", "x" * 2000])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(UnsafeName):
        Place.of("default", path)


async def test_a_list_looks_up_what_it_shows_and_reads_nothing_else(database: Database) -> None:
    """However many files there are, and wherever the page begins: SQLite goes along the index, from one bound on."""

    def plan(connection: Connection) -> list[str]:
        compiled = paths._LISTED.compile(dialect=connection.dialect)
        values = {**compiled.params, "in_space": "s", "first": "a", "before": "b", "most": 1}
        arguments = tuple(values[name] for name in compiled.positiontup or ())
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", arguments)]

    assert await database.read(plan) == [
        "SEARCH uploads USING INDEX ix_uploads_path (space=? AND path>? AND path<?)",
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH versions USING INDEX ix_uploads_path (space=? AND path=?)",
    ]


async def test_thousands_of_versions_move_list_and_restore(world: World, database: Database) -> None:
    """A move is one statement, in whose memory no version is but the database's own."""
    count = 3000

    def insert(connection: Connection) -> None:
        first = Upload(id="0" * 32, filename="a.txt", size_bytes=1, phase=Phase.RELEASED, created_at=NOW)
        rows = [
            {
                **fixed_values(first),
                **changing_values(first),
                **scan_values(None),
                "id": f"{number:032x}",
                "run_cause": "",
                "discard_pending": False,
                "precedence": number + 1,
            }
            for number in range(count)
        ]
        connection.execute(uploads.insert(), rows)

    files = Files(
        database=database,
        receiver=world.receiver,
        blobs=world.alive.blobs,
        ledger=Ledger(),
        removal=world.removal,
    )
    await database.write(insert)
    target = Place("lab", "folder/b.txt")
    assert await files.move(HERE, target)
    assert (await files.get(target)).id == f"{count - 1:032x}"
    last = None
    found: list[str] = []
    while last is not None or not found:
        page = await files.versions(target, limit=1000, cursor=last)
        found += [one.id for one in page.versions]
        last = page.next
    assert found == [f"{number:032x}" for number in reversed(range(count))]
    await files.restore(target, found[-1])
    assert (await files.get(target)).id == found[-1]


async def test_spaces_and_files_with_many_versions_are_found_along_the_index(database: Database) -> None:
    """However many files there are, and uploads that became none: nothing is gathered or sorted."""

    def plan(connection: Connection) -> list[str]:
        steps = []
        for statement in (paths._NEXT_SPACE, paths._CROWDED):
            compiled = statement.compile(dialect=connection.dialect)
            arguments = tuple("a" if name in ("after", "in_space") else 1 for name in compiled.positiontup or ())
            steps += [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", arguments)]
        return steps

    assert await database.read(plan) == [
        "SEARCH uploads USING COVERING INDEX ix_uploads_space (space>?)",
        "SEARCH uploads USING INDEX ix_uploads_path (space=? AND path>?)",
    ]


async def test_an_answer_looks_at_so_many_spaces_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_LOOKS", 2)
    for space in ("a", "b", "c"):
        await world.create(space=space)
    await world.put(space="d")
    assert await world.files.spaces() == ([], "b")
    assert await world.files.spaces(cursor="b") == (["d"], "d")
    assert await world.files.spaces(cursor="d") == ([], None)
