"""What is told about work that stands still."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from penstock.postprocessing.survey import Survey
from penstock.store.base import StoreUnavailable

from .world import RECEIVED, World


def survey_of(world: World) -> Survey:
    return Survey(store=world.store, clock=world.clock, stalled_after=timedelta(minutes=10))


async def test_it_counts_what_stands_still(world: World) -> None:
    survey = survey_of(world)
    await world.coordinator.handle(RECEIVED)
    assert (await survey.numbers()).stalled == 0
    await world.clock.advance(timedelta(minutes=11))
    numbers = await survey.numbers()
    assert (numbers.stalled, numbers.oldest_seconds) == (1, 660.0)


async def test_a_walk_that_fails_is_no_number_and_the_next_look_walks_again(world: World) -> None:
    survey = survey_of(world)
    await world.coordinator.handle(RECEIVED)
    await world.clock.advance(timedelta(minutes=11))
    world.store.away.add("all")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await survey.numbers()
    world.store.away.clear()
    assert (await survey.numbers()).stalled == 1


async def test_however_many_ask_there_is_one_walk_in_ten_seconds(world: World) -> None:
    survey = survey_of(world)
    await asyncio.gather(*(survey.numbers() for _ in range(5)))
    assert world.store.calls["all"] == 1
    await world.clock.advance(timedelta(seconds=11))
    await survey.numbers()
    assert world.store.calls["all"] == 2
