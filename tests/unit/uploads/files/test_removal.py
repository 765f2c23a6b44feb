"""What is removed is what is there when it goes, and not what was there when somebody looked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from penstock.blobs.base import BlobUnavailable
from penstock.db import Database
from penstock.errors import NotFound
from penstock.uploads.file_errors import OtherVersion
from penstock.uploads.files import removal
from penstock.uploads.places import Place
from penstock.uploads.quotas.quota import Ledger
from penstock.uploads.upload import Phase

from ..filed import HERE, World, phase
from ..whole_life import Outside, process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from sqlalchemy import Connection

T = TypeVar("T")
THERE = Place("default", "b.txt")


class Meddled(Database):
    """After somebody has looked, somebody else does something."""

    meddle: Callable[[], Awaitable[object]] | None = None

    async def read(self, work: Callable[[Connection], T]) -> T:
        seen = await super().read(work)
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            await meddle()
        return seen


@asynccontextmanager
async def meddled(folder: Path, *, kept: int | None = None) -> AsyncIterator[tuple[World, Meddled]]:
    async with process(folder, Outside()) as alive, Meddled(f"sqlite:///{folder / 'penstock.db'}") as database:
        yield World(alive, database, Ledger(), kept=kept), database


async def test_a_version_that_was_restored_meanwhile_is_not_pruned(tmp_path: Path) -> None:
    async with meddled(tmp_path, kept=2) as (world, database):
        versions = [await world.put() for _ in range(4)]
        database.meddle = lambda: world.files.restore(HERE, versions[0])
        assert await world.removal.prune() == 2
        assert await world.versions() == [versions[0], versions[3]]


async def test_a_file_that_was_moved_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    async with meddled(tmp_path) as (world, database):
        versions = [await world.put() for _ in range(2)]
        database.meddle = lambda: world.files.move(HERE, THERE)
        with pytest.raises(NotFound):
            await world.files.delete(HERE)
        assert await world.versions(THERE) == versions[::-1]


async def test_a_file_that_has_become_another_is_not_deleted(tmp_path: Path) -> None:
    async with meddled(tmp_path) as (world, database):
        first = await world.put()
        database.meddle = world.put
        with pytest.raises(OtherVersion):
            await world.files.delete(HERE, match=first)
        assert len(await world.versions()) == 2


@pytest.mark.parametrize("older", [0, 2])
async def test_what_was_in_processing_and_ends_while_a_file_is_deleted_goes_too(tmp_path: Path, older: int) -> None:
    async with meddled(tmp_path) as (world, database):
        for _ in range(older):
            await world.put()
        coming = await world.create()
        database.meddle = lambda: world.end(coming)
        await world.files.delete(HERE)
        assert await phase(world, coming) is Phase.CANCELLED
        assert await world.versions() == []


async def test_what_comes_while_a_file_is_deleted_stays(tmp_path: Path) -> None:
    async with meddled(tmp_path) as (world, database):
        first = await world.put()
        database.meddle = world.put
        await world.files.delete(HERE)
        assert await phase(world, first) is Phase.CANCELLED
        assert len(await world.versions()) == 1


@pytest.mark.parametrize("at_once", [1, 2, 3])
async def test_a_file_of_many_versions_goes_in_several_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(removal, "_AT_ONCE", at_once)
    async with meddled(tmp_path, kept=1) as (world, _):
        other = [await world.put("b.txt") for _ in range(4)]
        gone = [await world.put() for _ in range(3)]
        gone += [await world.create() for _ in range(2)]
        await world.files.delete(HERE, match=gone[2])
        assert await world.versions() == []
        assert {await phase(world, one) for one in gone} == {Phase.CANCELLED}
        assert await world.versions(THERE) == other[::-1]
        assert await world.removal.prune() == 3
        assert await world.versions(THERE) == other[-1:]
        assert await world.alive.to_discard_is_empty()


async def test_one_that_was_forgotten_meanwhile_does_not_keep_the_others(tmp_path: Path) -> None:
    async with meddled(tmp_path) as (world, _):
        versions = [await world.put() for _ in range(3)]
        terminate = world.receiver.terminate

        async def forget(upload_id: str, **_: Any) -> None:
            if upload_id == versions[1]:
                raise NotFound("there is no such upload")
            await terminate(upload_id)

        world.receiver.terminate = forget  # type: ignore[method-assign]
        await world.files.delete(HERE)
        assert await world.versions() == []
        assert [await phase(world, one) for one in versions] == [Phase.CANCELLED] * 3
        assert await world.alive.to_discard() == [versions[1]]


async def test_a_condition_holds_for_one_version_too(tmp_path: Path) -> None:
    async with meddled(tmp_path) as (world, _):
        first, second = [await world.put() for _ in range(2)]
        with pytest.raises(OtherVersion):
            await world.files.delete(HERE, version=first, match=second)
        await world.files.delete(HERE, version=first, match=first)
        assert await world.versions() == [second]


async def test_bytes_that_cannot_be_freed_now_are_freed_later(tmp_path: Path) -> None:
    async with meddled(tmp_path) as (world, _):
        upload_id = await world.put()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.alive.blobs, "discard", _unable)
            await world.files.delete(HERE)
        assert await world.versions() == []
        assert await world.alive.to_discard() == [upload_id]
        await world.alive.gateway.catch_up()
        assert await world.alive.to_discard_is_empty()


async def _unable(upload_id: str) -> None:
    raise BlobUnavailable(f"the disk with {upload_id} is away")
