"""Reading and changing single records, also by several at a time."""

from __future__ import annotations

import asyncio

import pytest

from ...core.progress import Progress, Status
from ...store.base import Revision, RevisionConflict, Saved
from .records import IDS, NOW, OpensStore, collect, count_up, full_record, record, save_all


class SingleRecords(OpensStore):
    """One record, one who writes."""

    async def test_what_is_not_there_is_none(self) -> None:
        async with self.open_store() as store:
            assert await store.get("u1") is None
            assert await store.get_many(["u1", "u2"]) == {}
            assert await store.due(NOW, limit=10) == []
            assert await store.next_due() is None
            assert await collect(store.all()) == []
            assert await collect(store.in_step("virusscan")) == []
            assert await store.count_by_step() == {}
            assert await store.answered() == {}

    async def test_a_record_comes_back_as_it_was_saved(self) -> None:
        async with self.open_store() as store:
            for progress in (full_record("u1"), Progress(upload_id="u2", status=Status("ocr"))):
                revision = await store.save(progress, expected=None)
                assert await store.get(progress.upload_id) == Saved(progress, revision)

    async def test_a_change_needs_the_revision_that_was_read_and_gives_a_new_one(self) -> None:
        async with self.open_store() as store:
            first = await store.save(record("u1"), expected=None)
            second = await store.save(record("u1", failures=1), expected=first)
            assert second != first
            assert await store.get("u1") == Saved(record("u1", failures=1), second)
            with pytest.raises(RevisionConflict) as raised:
                await store.save(record("u1", failures=2), expected=first)
            assert raised.value.upload_id == "u1"
            assert raised.value.retryable
            assert await store.get("u1") == Saved(record("u1", failures=1), second)

    async def test_a_new_record_does_not_replace_one_that_is_there(self) -> None:
        async with self.open_store() as store:
            revision = await store.save(record("u1"), expected=None)
            with pytest.raises(RevisionConflict):
                await store.save(record("u1", failures=1), expected=None)
            assert await store.get("u1") == Saved(record("u1"), revision)

    async def test_a_change_of_a_record_that_is_gone_is_a_conflict(self) -> None:
        async with self.open_store() as store:
            revision = await store.save(record("u1"), expected=None)
            await store.delete("u1", expected=revision)
            with pytest.raises(RevisionConflict):
                await store.save(record("u1"), expected=revision)
            assert await store.get("u1") is None

    async def test_a_record_that_came_back_is_not_the_one_that_was_read(self) -> None:
        async with self.open_store() as store:
            first = await store.save(record("u1"), expected=None)
            await store.delete("u1", expected=first)
            second = await store.save(record("u1"), expected=None)
            assert second != first
            with pytest.raises(RevisionConflict):
                await store.save(record("u1", failures=1), expected=first)
            with pytest.raises(RevisionConflict):
                await store.delete("u1", expected=first)
            assert await store.get("u1") == Saved(record("u1"), second)

    async def test_deleting_removes_only_the_revision_that_was_read(self) -> None:
        async with self.open_store() as store:
            first = await store.save(record("u1"), expected=None)
            second = await store.save(record("u1", failures=1), expected=first)
            with pytest.raises(RevisionConflict):
                await store.delete("u1", expected=first)
            assert await store.get("u1") == Saved(record("u1", failures=1), second)
            await store.delete("u1", expected=second)
            assert await store.get("u1") is None

    async def test_deleting_what_is_gone_does_nothing(self) -> None:
        async with self.open_store() as store:
            first, other = await save_all(store, record("u1"), record("u2"))
            await store.delete("u1", expected=first)
            await store.delete("u1", expected=first)
            await store.delete("never seen", expected=first)
            assert await store.get("u2") == Saved(record("u2"), other)

    async def test_strange_and_long_ids_are_kept_apart(self) -> None:
        async with self.open_store() as store:
            revisions = {one: await store.save(record(one, filename=one), expected=None) for one in IDS}
            for one in IDS:
                assert await store.get(one) == Saved(record(one, filename=one), revisions[one])
            assert sorted(await collect(store.all())) == sorted(IDS)
            assert set(await store.get_many(IDS)) == set(IDS)
            for one in IDS[::2]:
                await store.delete(one, expected=revisions[one])
            assert sorted(await collect(store.in_step("virusscan"))) == sorted(IDS[1::2])

    async def test_many_are_read_at_once(self) -> None:
        async with self.open_store() as store:
            uploads = [f"u{number}" for number in range(1200)]
            revisions = await asyncio.gather(*(store.save(record(one), expected=None) for one in uploads))
            found = await store.get_many([*uploads, "u1", "unknown"])
            assert found == {
                one: Saved(record(one), revision) for one, revision in zip(uploads, revisions, strict=True)
            }
            assert set(await store.get_many(iter(["u7", "u7", "unknown"]))) == {"u7"}


class SeveralWriters(OpensStore):
    """One record, and several who change it."""

    async def test_of_several_changes_of_one_revision_exactly_one_wins(self) -> None:
        async with self.open_store() as store:
            revision = await store.save(record("u1"), expected=None)
            results = await asyncio.gather(
                *(store.save(record("u1", failures=number), expected=revision) for number in range(1, 21)),
                return_exceptions=True,
            )
            won = [number for number, result in enumerate(results, start=1) if isinstance(result, int)]
            assert len(won) == 1
            assert sum(isinstance(result, RevisionConflict) for result in results) == 19
            assert await store.get("u1") == Saved(record("u1", failures=won[0]), results[won[0] - 1])  # type: ignore[arg-type]  # the one that is a revision

    async def test_of_several_that_begin_a_record_exactly_one_wins(self) -> None:
        async with self.open_store() as store:
            results = await asyncio.gather(
                *(store.save(record("u1", failures=number), expected=None) for number in range(20)),
                return_exceptions=True,
            )
            assert sum(isinstance(result, int) for result in results) == 1
            assert sum(isinstance(result, RevisionConflict) for result in results) == 19

    async def test_a_change_and_a_removal_of_one_revision_never_both_happen(self) -> None:
        async with self.open_store() as store:
            for number in range(20):
                upload = f"u{number}"
                revision = await store.save(record(upload), expected=None)
                saved, deleted = await asyncio.gather(
                    store.save(record(upload, failures=1), expected=revision),
                    store.delete(upload, expected=revision),
                    return_exceptions=True,
                )
                left = await store.get(upload)
                if isinstance(saved, int):
                    assert isinstance(deleted, RevisionConflict)
                    assert left == Saved(record(upload, failures=1), Revision(saved))
                else:
                    assert (type(saved), deleted, left) == (RevisionConflict, None, None)

    async def test_no_change_is_lost_when_many_count_together(self) -> None:
        async with self.open_store() as store:
            await store.save(record("u1"), expected=None)
            await asyncio.gather(*(count_up(store, "u1", 10) for _ in range(8)))
            saved = await store.get("u1")
            assert saved is not None
            assert saved.progress.failures == 80

    async def test_a_conflict_does_not_harm_those_who_write_at_the_same_time(self) -> None:
        async with self.open_store() as store:
            stale = await store.save(record("busy"), expected=None)
            await store.save(record("busy", failures=1), expected=stale)
            results = await asyncio.gather(
                *(store.save(record(f"u{number}"), expected=None) for number in range(50)),
                *(store.save(record("busy"), expected=stale) for _ in range(50)),
                return_exceptions=True,
            )
            assert [type(result) for result in results] == [int] * 50 + [RevisionConflict] * 50
            assert len(await collect(store.all())) == 51
