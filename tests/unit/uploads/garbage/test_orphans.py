"""Bytes without an entry are remembered, with the time at which that was noticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from penstock.db import Database
from penstock.ids import new_upload_id
from penstock.uploads.garbage.orphans import Orphans

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_they_are_remembered_over_restarts_until_forgotten(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    first, second = new_upload_id(), new_upload_id()
    async with Database(url) as database:
        orphans = Orphans(database)
        assert await orphans.seen() == {}
        await orphans.remember([first], NOW)
        await orphans.remember([second], NOW + timedelta(hours=1))
        await orphans.remember([], NOW)
        await orphans.remember([second], NOW + timedelta(hours=2))  # by another instance
    async with Database(url) as database:
        orphans = Orphans(database)
        assert await orphans.seen() == {first: NOW, second: NOW + timedelta(hours=1)}
        await orphans.forget([first, new_upload_id()])
        await orphans.forget([])
        assert await orphans.seen() == {second: NOW + timedelta(hours=1)}


async def test_there_may_be_many(tmp_path: Path) -> None:
    ids = [new_upload_id() for _ in range(3000)]
    async with Database(f"sqlite:///{tmp_path}/test.db") as database:
        orphans = Orphans(database)
        await orphans.remember(ids, NOW)
        assert (await orphans.seen()).keys() == set(ids)
        await orphans.forget(ids[:2999])
        assert list(await orphans.seen()) == ids[2999:]
