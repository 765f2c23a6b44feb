"""The time that ages are counted to outlives a process: a server that starts with a wrong clock removes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.clock import SystemClock
from penstock.db import Database
from penstock.testing import ManualClock
from penstock.uploads.remembered import RememberedTime
from penstock.uploads.steady import SteadyTime

from .whole_life import LIFETIME, Outside, process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DAY = timedelta(days=1)
YEAR = timedelta(days=365)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path / 'penstock.db'}") as opened:
        yield opened


def beginning_at(clock: ManualClock, database: Database) -> tuple[SteadyTime, RememberedTime]:
    time = SteadyTime(clock, believed_after=DAY)
    return time, RememberedTime(database, time)


async def test_nothing_is_known_in_the_beginning(database: Database) -> None:
    clock = ManualClock()
    time, remembered = beginning_at(clock, database)
    await remembered.recall()
    assert time.now() == clock.now()


async def test_it_goes_on_where_it_was(database: Database) -> None:
    clock = ManualClock()
    _, remembered = beginning_at(clock, database)
    clock.jump(YEAR)
    await remembered.keep()
    await clock.advance(DAY / 2)
    await remembered.keep()
    later = ManualClock(clock.now() + timedelta(minutes=1))
    time, remembered = beginning_at(later, database)
    await remembered.recall()
    assert later.now() - time.now() == YEAR + timedelta(minutes=1)
    await later.advance(DAY / 2)
    assert later.now() - time.now() <= timedelta(minutes=1), "half of its time was over before"


async def test_a_clock_that_is_behind_goes_on_being_so(database: Database) -> None:
    clock = ManualClock()
    time, remembered = beginning_at(clock, database)
    clock.jump(-YEAR)
    await remembered.keep()
    await clock.advance(DAY / 2)
    await remembered.keep()
    time, remembered = beginning_at(clock, database)
    await remembered.recall()
    assert time.latest() == clock.now() + YEAR
    await clock.advance(DAY / 2)
    assert time.latest() == clock.now(), "half of its time was over before"


async def test_what_another_instance_believes_counts(database: Database) -> None:
    ours, theirs = ManualClock(), ManualClock()
    time, remembered = beginning_at(ours, database)
    wrong, misled = beginning_at(theirs, database)
    await remembered.keep()
    for clock in (ours, theirs):
        await clock.advance(2 * DAY)
    theirs.jump(YEAR)
    wrong.now()
    await theirs.advance(DAY)
    await ours.advance(DAY)
    await remembered.keep()
    assert wrong.now() == theirs.now()
    await misled.recall()
    assert wrong.now() == time.now() == ours.now()


async def test_where_nothing_was_remembered_the_last_that_happened_counts(tmp_path: Path, database: Database) -> None:
    outside = Outside()
    async with process(tmp_path, outside) as alive:
        await alive.begin()
        began_at = alive.clock.now()
    time, remembered = beginning_at(ManualClock(began_at + YEAR), database)
    await remembered.recall()
    assert time.now() == began_at


@pytest.mark.parametrize("ahead", [YEAR, -YEAR])
async def test_a_server_that_starts_with_a_wrong_clock_expires_nothing(tmp_path: Path, ahead: timedelta) -> None:
    """An upload that was begun before, and one that is begun before the clock is put right."""
    outside = Outside()
    async with process(tmp_path, outside) as alive:
        await alive.begin()
        await alive.sweeper.sweep()
    outside.clock.jump(ahead)
    async with process(tmp_path, outside) as alive:
        for _ in range(2):
            assert (await alive.sweeper.sweep()).expired == 0
        outside.clock.jump(-ahead)
        assert (await alive.sweeper.sweep()).expired == 0
        assert await alive.blobs.length(alive.upload_id) == 0
        await outside.clock.advance(LIFETIME)
        assert (await alive.sweeper.sweep()).expired == 1


def test_the_real_clock_is_believed_at_once() -> None:
    time = SteadyTime(SystemClock(), believed_after=DAY)
    assert time.doubted == timedelta()
