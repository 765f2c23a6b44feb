"""What is particular to the store in memory; what every store does is in tests/contract."""

from __future__ import annotations

import asyncio

from penstock.store.memory import MemoryStore
from penstock.testing.store_contract.records import NOW, SECOND, collect, record


async def test_timers_of_former_revisions_take_no_lasting_memory() -> None:
    async with MemoryStore() as store:
        for number in range(200):
            revision = None
            for change in range(50):
                revision = await store.save(record(f"u{number}", due=(3600 + change) * SECOND), expected=revision)
            if number >= 10:
                assert revision is not None
                await store.delete(f"u{number}", expected=revision)
        assert len(store._timers) < 1100
        assert await store.next_due() == NOW + 3649 * SECOND
        assert len(await store.due(NOW + 4000 * SECOND, limit=100)) == 10


async def test_a_long_listing_lets_others_run() -> None:
    async with MemoryStore() as store:
        for number in range(5000):
            await store.save(record(f"u{number}", "other step"), expected=None)
        listing = asyncio.create_task(collect(store.in_step("virusscan")))
        turns = 0
        while not listing.done():
            turns += 1
            await asyncio.sleep(0)
        assert await listing == []
        assert turns >= 5


async def test_records_stay_over_closing_and_opening_of_the_same_object() -> None:
    store = MemoryStore()
    async with store:
        await store.save(record("u1"), expected=None)
    async with store:
        assert await collect(store.all()) == ["u1"]
    async with MemoryStore() as another:
        assert await collect(another.all()) == []
