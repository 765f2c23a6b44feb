"""Work for many uploads leaves room for the others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from penstock.events.types import Envelope, ResumePostprocessing
from penstock.postprocessing.pace import wait_for_room
from penstock.testing import ManualClock, eventually

from .world import World, received


class Crowd:
    """A bus that says how much waits."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting

    def pending(self, group: str) -> int:
        assert group == "g"
        return self.waiting


async def test_who_says_a_lot_waits_until_little_waits() -> None:
    clock, bus = ManualClock(), Crowd(5000)
    line: Any = bus
    waiting = asyncio.create_task(wait_for_room(line, "g", clock))
    await clock.advance(timedelta(milliseconds=500))
    assert not waiting.done()
    bus.waiting = 3
    await clock.advance(timedelta(milliseconds=5))
    assert waiting.done()


async def test_it_goes_on_in_the_end_however_much_waits() -> None:
    clock, bus = ManualClock(), Crowd(5000)
    line: Any = bus
    waiting = asyncio.create_task(wait_for_room(line, "g", clock))
    await clock.advance(timedelta(seconds=2))
    assert waiting.done()


async def test_a_resume_of_many_says_no_more_than_comes_back(world: World) -> None:
    """Each start that is said lies in the stream before what arrives next: 300 at once would be waited for."""
    for number in range(300):
        await world.coordinator.handle(received(f"u{number}"))
    await eventually(lambda: len(world.heard) == 300)
    world.heard.clear()
    world.line.waiting = 5000
    resume = asyncio.create_task(
        world.coordinator.handle(Envelope(event=ResumePostprocessing(upload_id="", step="virusscan"), event_id="r"))
    )
    await world.clock.advance(timedelta(milliseconds=900))
    assert not world.heard
    world.line.waiting = 0
    while not resume.done():
        await world.clock.advance(timedelta(milliseconds=10))
    await resume
    await eventually(lambda: len(world.heard) == 300)


async def test_a_resume_of_many_rests_in_between(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(70):
        await world.coordinator.handle(received(f"u{number}"))
    rests: list[timedelta] = []

    async def rest(duration: timedelta) -> None:
        rests.append(duration)

    monkeypatch.setattr(world.clock, "sleep", rest)
    await world.coordinator.handle(
        Envelope(event=ResumePostprocessing(upload_id="", step="virusscan"), event_id="resume")
    )
    assert len(rests) == 2
