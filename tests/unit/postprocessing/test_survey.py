"""What is told about work that stands still."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from penstock.store.base import StoreUnavailable

from .world import RECEIVED, World


async def test_it_counts_what_stands_still(world: World) -> None:
    survey = world.survey
    await world.coordinator.handle(RECEIVED)
    assert (await survey.numbers()).stalled == 0
    await world.clock.advance(timedelta(minutes=11))
    numbers = await survey.numbers()
    assert (numbers.stalled, numbers.oldest_seconds) == (1, 660.0)


async def test_a_walk_that_fails_is_no_number_and_the_next_look_walks_again(world: World) -> None:
    survey = world.survey
    await world.coordinator.handle(RECEIVED)
    await world.clock.advance(timedelta(minutes=11))
    world.store.away.add("all")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await survey.numbers()
    world.store.away.clear()
    assert (await survey.numbers()).stalled == 1


async def test_however_many_ask_there_is_one_walk_in_ten_seconds(world: World) -> None:
    survey = world.survey
    await asyncio.gather(*(survey.numbers() for _ in range(5)))
    assert world.store.calls["all"] == 1
    await world.clock.advance(timedelta(seconds=11))
    await survey.numbers()
    assert world.store.calls["all"] == 2


async def test_the_walk_that_mends_counts_as_well(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await world.clock.advance(timedelta(minutes=11))
    await world.reconciler.mend()
    assert (await world.survey.numbers()).stalled == 1
    assert world.store.calls["all"] == 1


async def test_a_walk_that_takes_long_is_not_repeated_for_who_asks(world: World) -> None:
    """With many records a walk takes seconds: who looks gets the numbers of the last one, without waiting."""
    begun = asyncio.create_task(world.survey.numbers())
    async with world.survey.counted():
        await world.clock.advance(timedelta(seconds=3))
    await begun
    walks = world.store.calls["all"]
    await world.coordinator.handle(RECEIVED)
    await world.clock.advance(timedelta(minutes=11))
    assert (await world.survey.numbers()).stalled == 0
    assert world.store.calls["all"] == walks
    await world.reconciler.mend()
    assert (await world.survey.numbers()).stalled == 1


async def test_counts_that_take_long_are_kept_for_a_while(world: World) -> None:
    """etcd has to look at all keys: 100,000 take some seconds, and who collects metrics asks every 15."""
    await world.coordinator.handle(RECEIVED)
    assert await world.survey.counts() == {"virusscan": 1}
    await world.survey.counts()
    assert world.store.calls["count_by_step"] == 2  # they take no time at all
    world.store.takes = timedelta(seconds=2)
    counting = asyncio.create_task(world.survey.counts())
    await world.clock.advance(timedelta(seconds=2))
    await counting
    await world.clock.advance(timedelta(seconds=39))
    await world.survey.counts()
    assert world.store.calls["count_by_step"] == 3
    await world.clock.advance(timedelta(seconds=2))
    world.store.takes = timedelta()
    await world.survey.counts()
    assert world.store.calls["count_by_step"] == 4
