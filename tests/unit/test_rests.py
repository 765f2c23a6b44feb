"""Who walks over many things rests now and then."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from penstock.rests import Rests
from penstock.testing import ManualClock


async def test_a_walk_rests_half_as_long_as_it_has_walked() -> None:
    clock = ManualClock()
    rests = Rests(clock)
    await clock.advance(timedelta(milliseconds=30))
    await rests.after(100)
    resting = asyncio.create_task(rests.after(100))
    await clock.advance(timedelta(milliseconds=14))
    assert not resting.done()
    await clock.advance(timedelta(milliseconds=1))
    assert resting.done()


async def test_its_stretches_and_rests_are_as_it_likes_but_no_rest_is_long() -> None:
    clock = ManualClock()
    rests = Rests(clock, stretch=2, share=3.0)
    await rests.after()
    await clock.advance(timedelta(seconds=1))
    resting = asyncio.create_task(rests.after())
    await clock.advance(timedelta(milliseconds=49))
    assert not resting.done()
    await clock.advance(timedelta(milliseconds=1))
    assert resting.done()
