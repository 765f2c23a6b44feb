"""Finding records: by their timers, by their step, all of them."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from datetime import timedelta, timezone
from typing import TYPE_CHECKING

import msgspec

from ...core.progress import FINISHED
from .records import NOW, SECOND, OpensStore, collect, ids_of, record, save_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from ...store.base import ProgressStore, Saved


class Timers(OpensStore):
    """What is due."""

    async def test_due_is_what_has_a_timer_that_has_ended_the_longest_due_first(self) -> None:
        async with self.open_store() as store:
            await save_all(
                store,
                record("b", due=-1 * SECOND),
                record("never"),
                record("a", due=-3600 * SECOND),
                record("d", due=timedelta(microseconds=1)),
                record("c", due=timedelta()),
                record("e", due=timedelta(days=10_000)),
            )
            assert ids_of(await store.due(NOW, limit=10)) == ["a", "b", "c"]
            assert ids_of(await store.due(NOW, limit=2)) == ["a", "b"]
            assert ids_of(await store.due(NOW, limit=2)) == ["a", "b"]  # looking changes nothing
            assert ids_of(await store.due(NOW + timedelta(microseconds=1), limit=10)) == ["a", "b", "c", "d"]
            assert await store.next_due() == NOW - 3600 * SECOND

    async def test_each_kind_of_timer_counts_the_earliest_first(self) -> None:
        async with self.open_store() as store:
            await save_all(
                store,
                record("resume", due=3 * SECOND),
                record("deadline", deadline_at=NOW + 2 * SECOND),
                record("announce", announce_at=NOW + 1 * SECOND, deadline_at=NOW + 9 * SECOND),
            )
            assert await store.next_due() == NOW + SECOND
            assert ids_of(await store.due(NOW + 3 * SECOND, limit=10)) == ["announce", "deadline", "resume"]

    async def test_a_timer_follows_its_record(self) -> None:
        async with self.open_store() as store:
            first, second, third = await save_all(store, *(record(f"u{n}", due=n * SECOND) for n in (1, 2, 3)))
            assert await store.next_due() == NOW + SECOND
            await store.delete("u1", expected=first)
            assert await store.next_due() == NOW + 2 * SECOND
            await store.save(record("u2"), expected=second)
            assert await store.next_due() == NOW + 3 * SECOND
            third = await store.save(record("u3", due=60 * SECOND), expected=third)
            assert await store.next_due() == NOW + 60 * SECOND
            assert await store.due(NOW + 59 * SECOND, limit=10) == []
            await store.save(record("u3", due=5 * SECOND), expected=third)
            assert ids_of(await store.due(NOW + 59 * SECOND, limit=10)) == ["u3"]

    async def test_a_time_in_another_zone_is_the_same_moment(self) -> None:
        async with self.open_store() as store:
            await save_all(store, record("u1", due=timedelta()), record("u2", due=SECOND))
            now = NOW.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
            assert ids_of(await store.due(now, limit=10)) == ["u1"]


class Lists(OpensStore):
    """Records of a step, and all records."""

    async def test_records_are_found_by_their_step(self) -> None:
        steps = ("virusscan", FINISHED, "Virusscan", "virus%", "virus_can", "", "\u00e9\U0001f600 step")
        async with self.open_store() as store:
            await save_all(store, *(record(f"{step}/{n}", step) for step in steps for n in (1, 2)))
            for step in steps:
                assert sorted(await collect(store.in_step(step))) == [f"{step}/1", f"{step}/2"]
            assert await collect(store.in_step("unknown")) == []
            assert await store.count_by_step() == dict.fromkeys(steps, 2)

    async def test_a_record_that_moves_on_is_in_its_new_step_only(self) -> None:
        async with self.open_store() as store:
            first, second = await save_all(store, record("u1"), record("u2"))
            first = await store.save(record("u1", FINISHED), expected=first)
            assert await collect(store.in_step("virusscan")) == ["u2"]
            assert await collect(store.in_step(FINISHED)) == ["u1"]
            assert await store.count_by_step() == {"virusscan": 1, FINISHED: 1}
            await store.delete("u1", expected=first)
            await store.delete("u2", expected=second)
            assert await store.count_by_step() == {}

    async def test_records_may_change_while_they_are_listed(self) -> None:
        async with self.open_store() as store:
            uploads = [f"u{number:04}" for number in range(1200)]  # several pages, whatever their size
            await asyncio.gather(*(store.save(record(one), expected=None) for one in uploads))
            for listing in (store.all, lambda: store.in_step("virusscan")):
                await self._list_while_changing(store, listing())

    async def _list_while_changing(self, store: ProgressStore, found: AsyncIterator[Saved]) -> None:
        before = set(await collect(store.in_step("virusscan")))
        gone, seen = set[str](), Counter[str]()
        async for saved in found:
            upload = saved.progress.upload_id
            seen[upload] += 1
            number = seen.total()
            if number % 7 == 0:  # remove what was just seen, and something else
                other = max(before - gone)
                for one in {upload, other}:
                    await _remove(store, one)
                    gone.add(one)
            elif number % 7 == 1:  # remove it and bring it back
                await _remove(store, upload)
                await store.save(record(upload), expected=None)
            elif number % 7 == 2:  # change it
                await _begin_again(store, upload, NOW + number * SECOND)
            elif number % 7 == 3:  # add one
                await store.save(record(f"new {number} {len(before)}"), expected=None)
        assert set(seen.values()) == {1}
        assert before - gone <= set(seen)
        assert set(seen) - before - gone <= set(await collect(store.all()))

    async def test_a_listing_may_be_left_half_way(self) -> None:
        async with self.open_store() as store:
            await save_all(store, *(record(f"u{number}") for number in range(20)))
            async for _ in store.all():
                break
            assert len(await collect(store.all())) == 20
            await store.save(record("another"), expected=None)

    async def test_five_thousand_records_are_listed_in_little_memory(self) -> None:
        async with self.open_store() as store:
            url = "https://cloud.example.test/" + "x" * 2000
            for start in range(0, 5_000, 1000):
                await asyncio.gather(
                    *(store.save(record(f"u{n}", url=url), expected=None) for n in range(start, start + 1000))
                )
            tracemalloc.start()
            try:
                count = 0
                async for saved in store.all():
                    count += saved.progress.url == url
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert count == 5_000
            assert peak < 6 * 2**20  # all of them together are more than 10 MiB
            assert await store.count_by_step() == {"virusscan": 5_000}

    async def test_answers_of_steps_are_remembered(self) -> None:
        async with self.open_store() as store:
            await store.remember_answer("virusscan", NOW)
            await store.remember_answer("\u00e9\U0001f600 step", NOW + SECOND)
            await store.remember_answer("virusscan", NOW + 2 * SECOND)
            assert await store.answered() == {"virusscan": NOW + 2 * SECOND, "\u00e9\U0001f600 step": NOW + SECOND}


async def _remove(store: ProgressStore, upload_id: str) -> None:
    saved = await store.get(upload_id)
    if saved is not None:
        await store.delete(upload_id, expected=saved.revision)


async def _begin_again(store: ProgressStore, upload_id: str, at: datetime) -> None:
    saved = await store.get(upload_id)
    if saved is not None:
        await store.save(msgspec.structs.replace(saved.progress, started_at=at), expected=saved.revision)
