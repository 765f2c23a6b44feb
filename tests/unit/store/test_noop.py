"""The store that stores nothing: what it does instead."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.core.progress import FINISHED
from penstock.store.base import ProgressStore, Revision, RevisionConflict
from penstock.store.noop import NoopStore
from penstock.testing.store_contract.records import NOW, collect, record


@pytest.fixture
async def store() -> ProgressStore:
    async with NoopStore() as store:
        revision = await store.save(record("u1"), expected=None)
        assert isinstance(revision, int)
        await store.save(record("u2", FINISHED, deadline_at=datetime(1990, 1, 1, tzinfo=UTC)), expected=None)
        await store.remember_answer("virusscan", NOW)
        return store


async def test_what_was_saved_is_gone(store: ProgressStore) -> None:
    assert await store.get("u1") is None
    assert await store.get_many(["u1", "u2"]) == {}
    assert await collect(store.all()) == []
    assert await collect(store.in_step(FINISHED)) == []
    assert await store.count_by_step() == {}
    assert await store.answered() == {}


async def test_no_timer_ends(store: ProgressStore) -> None:
    assert await store.next_due() is None
    assert await store.due(NOW, limit=10) == []


async def test_an_upload_may_begin_again_and_again(store: ProgressStore) -> None:
    assert await store.save(record("u1"), expected=None) == await store.save(record("u1"), expected=None)


async def test_a_change_finds_no_record(store: ProgressStore) -> None:
    revision = await store.save(record("u1"), expected=None)
    with pytest.raises(RevisionConflict):
        await store.save(record("u1", failures=1), expected=revision)


async def test_a_removal_finds_that_it_is_gone_already(store: ProgressStore) -> None:
    await store.delete("u1", expected=Revision(0))
    await store.delete("u1", expected=Revision(7))
