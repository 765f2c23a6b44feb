"""The bounded store in memory is a store, and never drops an upload in flight."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from penstock.core.progress import FINISHED
from penstock.errors import Unavailable
from penstock.store.memory import BoundedMemoryStore, StoreFull
from penstock.store.target import StoreTarget
from penstock.testing.store_contract import KeepsOrder
from penstock.testing.store_contract.records import collect, record, save_all

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from penstock.store.base import ProgressStore


class TestBoundedMemoryStore(KeepsOrder):
    """Runs the suite, with room for what the suite saves."""

    def open_store(self) -> AbstractAsyncContextManager[ProgressStore]:
        return BoundedMemoryStore(StoreTarget(size=20_000))


@pytest.mark.parametrize("size", [None, 0])
async def test_six_hundred_uploads_in_flight_are_either_held_or_refused_but_never_dropped(size: int | None) -> None:
    """Row 16 of the Go services' weaknesses: of 600 uploads in flight, 88 were evicted and never finished."""
    async with BoundedMemoryStore(StoreTarget(size=size)) as store:
        results = await asyncio.gather(
            *(store.save(record(f"u{number}"), expected=None) for number in range(600)), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, StoreFull)]
        assert (len(refused), refused[0].room) == (88, 512)
        assert isinstance(refused[0], Unavailable)
        assert "POSTPROCESSING_STORE_SIZE" in str(refused[0])
        assert len(await collect(store.all())) == 512


async def test_whoever_waits_gets_in_once_another_has_ended() -> None:
    async with BoundedMemoryStore(StoreTarget(size=2)) as store:
        first, second = await save_all(store, record("u1"), record("u2", FINISHED))
        with pytest.raises(StoreFull):
            await store.save(record("u3"), expected=None)
        second = await store.save(record("u2", FINISHED, failures=1), expected=second)  # what is held can go on
        await store.delete("u1", expected=first)
        await store.save(record("u3"), expected=None)
        assert await collect(store.all()) == ["u2", "u3"]


async def test_what_failed_the_longest_ago_makes_room_and_the_log_says_so() -> None:
    async with BoundedMemoryStore(StoreTarget(size=3)) as store:
        first, second, third = await save_all(store, *(record(f"u{number}") for number in (1, 2, 3)))
        second = await store.save(record("u2", FINISHED, finished=True), expected=second)
        first = await store.save(record("u1", FINISHED, finished=True), expected=first)
        third = await store.save(record("u3", FINISHED, finished=True), expected=third)
        await store.save(record("u3"), expected=third)  # was restarted: it is in flight again
        with capture_logs() as lines:
            await save_all(store, record("u4"), record("u5"))
        assert [(line["event"], line["upload"]) for line in lines] == [
            ("failed_upload_forgotten", "u2"),
            ("failed_upload_forgotten", "u1"),
        ]
        assert await collect(store.all()) == ["u3", "u4", "u5"]
        with pytest.raises(StoreFull):
            await store.save(record("u6"), expected=None)


async def test_a_conflict_makes_no_room() -> None:
    async with BoundedMemoryStore(StoreTarget(size=1)) as store:
        await store.save(record("u1", FINISHED, finished=True), expected=None)
        with pytest.raises(Exception, match="changed by somebody else"):
            await store.save(record("u1"), expected=None)
        assert await collect(store.all()) == ["u1"]
