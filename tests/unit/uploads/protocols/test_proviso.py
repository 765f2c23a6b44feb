"""Conditions of uploads: whatever comes in between, a file comes to its path only where they hold at that moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobMissing
from penstock.core.policy import Policy
from penstock.db import Database
from penstock.postprocessing.foregone import Foregone
from penstock.telemetry import Metrics
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.quarantine import Doer
from penstock.uploads.file_errors import FileThere, OtherVersion
from penstock.uploads.places import Place
from penstock.uploads.protocols.proviso import ANY, NO_FILE, Proviso
from penstock.uploads.quotas.quota import Ledger
from penstock.uploads.upload import Phase, Upload
from tests.unit.uploads.filed import HERE, World, phase
from tests.unit.uploads.way_in import body, way_in
from tests.unit.uploads.whole_life import Outside, process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
PRESENT = Upload(id="v1", filename="a", created_at=AT, ended_at=AT + timedelta(milliseconds=900))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with process(tmp_path, Outside()) as alive, Database(f"sqlite:///{tmp_path / 'penstock.db'}") as database:
        yield World(alive, database, Ledger())


def replacing(*versions: str) -> Proviso:
    return Proviso(any_of=versions)


async def upload(world: World, upload_id: str) -> Upload:
    found = await world.alive.catalogue.get(upload_id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("proviso", "with_file", "without"),
    [
        (Proviso(), None, None),
        (NO_FILE, FileThere, None),
        (Proviso(none_of=("v1",)), OtherVersion, None),
        (Proviso(none_of=("v0",)), None, None),
        (replacing(ANY), None, OtherVersion),
        (replacing("v0", "v1"), None, OtherVersion),
        (replacing("v0"), OtherVersion, OtherVersion),
        (replacing(), OtherVersion, OtherVersion),
        (Proviso(any_of=("v1",), none_of=(ANY,)), FileThere, OtherVersion),
        (Proviso(unmodified_since=AT), None, None),
        (Proviso(unmodified_since=AT - timedelta(seconds=1)), OtherVersion, None),
    ],
)
def test_what_must_be_at_a_path(proviso: Proviso, with_file: type[Exception], without: type[Exception]) -> None:
    for present, expected in ((PRESENT, with_file), (None, without)):
        assert type(proviso.objection(HERE, present)) is (expected or type(None))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_that_want_a_path_for_themselves_the_one_that_ends_first_gets_it(
    world: World, order: tuple[int, int]
) -> None:
    both = [await world.begin(proviso=NO_FILE) for _ in range(2)]
    for one in both:
        await world.fill(one)
    first, second = (both[index] for index in order)
    for one in (first, second):
        await world.end(one)
    assert await world.versions() == [first]
    late = await upload(world, second)
    assert (late.phase, late.outcome) == (Phase.REJECTED, "file-exists")
    assert first in late.reason
    assert await world.alive.blobs.length(second) == late.size_bytes
    assert [(one.upload_id, one.failed) for one in world.alive.outside.ready] == [(first, False), (second, True)]
    steps = [
        (entry.kind, entry.outcome)
        for entry in await world.alive.feed.since(0, upload=second, limit=99)
        if entry.outcome
    ]
    assert steps == [("step_finished", "continue"), ("decided", "file-exists"), ("rejected", "file-exists")]


@pytest.mark.parametrize("at_the_last_moment", [False, True])
async def test_one_that_was_rejected_for_its_path_may_have_it_when_it_is_free(
    world: World, monkeypatch: pytest.MonkeyPatch, at_the_last_moment: bool
) -> None:
    """Also where the other one came while its bytes were put into their final place."""

    async def nothing_is_there_yet(*_: object) -> None:
        pass

    if at_the_last_moment:
        monkeypatch.setattr(Catalogue, "check_proviso", nothing_is_there_yet)
    first, second = [await world.begin(proviso=NO_FILE) for _ in range(2)]
    for one in (first, second):
        await world.fill(one)
    for one in (first, second):
        await world.end(one)
    assert await world.versions() == [first]
    assert (await upload(world, second)).outcome == "file-exists"
    await world.files.delete(HERE)
    await world.alive.gateway.restart(second)
    await world.end(second)
    assert await world.versions() == [second]
    assert b"".join([piece async for piece in world.alive.blobs.read(second)]) == b"content"


async def test_nothing_is_kept_of_what_comes_too_late_with_its_last_byte(world: World) -> None:
    late = await world.begin(proviso=NO_FILE)
    empty = Proviso(any_of=(ANY,))
    with pytest.raises(OtherVersion):
        await world.create(body=b"", proviso=empty)
    first = await world.put()
    with pytest.raises(FileThere, match="Nothing of what was sent was kept"):
        await world.fill(late)
    found = await upload(world, late)
    assert (found.phase, found.outcome) == (Phase.CANCELLED, "file-exists")
    assert await world.alive.blobs.staged() == []
    assert await world.alive.to_discard_is_empty()
    assert await world.versions() == [first]


async def test_no_other_version_is_replaced_than_the_one_that_was_named(world: World) -> None:
    first = await world.put()
    stale, fresh = [await world.create(proviso=replacing(first)) for _ in range(2)]
    await world.end(fresh)
    await world.end(stale)
    assert await world.versions() == [fresh, first]
    assert (await upload(world, stale)).outcome == "precondition"


async def test_who_names_a_version_that_was_restored_meanwhile_replaces_it_and_later_ones_do_as_well(
    world: World,
) -> None:
    first = await world.put()
    second = await world.begin(proviso=replacing(first))
    third = await world.put()
    await world.files.restore(HERE, first)
    last = await world.begin()
    await world.fill(second)
    await world.end(second)
    assert await world.versions() == [second, first, third]
    await world.fill(last)
    await world.end(last)
    assert (await world.versions())[0] == last


async def test_an_upload_that_waits_for_any_file_becomes_an_older_version_of_a_later_one(world: World) -> None:
    first = await world.put()
    second = await world.create(proviso=replacing(ANY))
    third = await world.put()
    await world.end(second)
    assert await world.versions() == [third, second, first]


async def test_a_copy_that_must_not_overwrite_does_not(world: World) -> None:
    there = Place("default", "b.txt")
    await world.put()
    copy = (await world.files.copy(HERE, there, overwrite=False)).upload.id
    other = await world.create(path=there.path)
    await world.end(other)
    await world.end(copy)
    assert await world.versions(there) == [other]
    assert await phase(world, copy) is Phase.REJECTED


async def test_nobody_lets_out_of_quarantine_what_came_too_late(world: World) -> None:
    late = await world.create(proviso=NO_FILE)
    await world.end(late, "quarantine")
    await world.put()
    with pytest.raises(FileThere):
        await world.alive.gateway.release_from_quarantine(late, Doer(name="anna", reason="harmless"))
    assert (await upload(world, late)).outcome == "quarantine"
    await world.files.delete(HERE)
    await world.alive.gateway.release_from_quarantine(late, Doer(name="anna", reason="harmless"))
    assert await world.versions() == [late]


async def test_of_two_that_are_released_at_once_the_second_is_told(tmp_path: Path) -> None:
    async with way_in(tmp_path, foresee=Foregone(Policy.create([]), Metrics())) as parts:
        first, second = [
            (await parts.receiver.create("a.txt", size_bytes=5, proviso=NO_FILE)).upload.id for _ in range(2)
        ]
        standing = await parts.receiver.receive(second, 0, body(b"bytes"), length=5)
        assert standing.upload.phase is Phase.RELEASED
        with pytest.raises(FileThere):
            await parts.receiver.receive(first, 0, body(b"other"), length=5)
        assert await parts.content(second) == b"bytes"
        with pytest.raises(BlobMissing):
            await parts.blobs.length(first)
