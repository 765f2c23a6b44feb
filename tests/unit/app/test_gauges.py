"""Who collects metrics gets what is known, at once, however much there is in the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from penstock.app import gauges
from penstock.app.gauges import StoreGauges
from penstock.clock import SystemClock
from penstock.core.progress import Progress, Status
from penstock.postprocessing.survey import Survey
from penstock.store.base import Saved, StoreUnavailable
from penstock.store.memory import MemoryStore
from penstock.telemetry import Metrics
from penstock.testing import eventually


class LargeStore(MemoryStore):
    """A store that takes its time to read or count what is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = asyncio.Event()
        self.rest_read = asyncio.Event()
        self.away = False

    async def count_by_step(self) -> dict[str, int]:
        await self.counted.wait()
        if self.away:
            raise StoreUnavailable("away")
        return await super().count_by_step()

    async def all(self) -> AsyncIterator[Saved]:
        async for saved in super().all():
            yield saved
            await self.rest_read.wait()


class Watched:
    """A store with its gauges, which are being kept."""

    def __init__(self) -> None:
        self.store, self.clock, self._metrics = LargeStore(), SystemClock(), Metrics()
        self.survey = Survey(store=self.store, clock=self.clock, stalled_after=timedelta(minutes=10))
        self.gauges = StoreGauges(self.survey, self._metrics)

    async def add(self, upload_id: str) -> None:
        begun_at = self.clock.now() - timedelta(hours=1)
        status = Status("virusscan")
        progress = Progress(upload_id=upload_id, status=status, started_at=begun_at, step_started_at=begun_at)
        await self.store.save(progress, expected=None)

    def value(self, name: str, **labels: str) -> float | None:
        return self._metrics.registry.get_sample_value(f"penstock_{name}", labels)

    @property
    def stalled(self) -> float | None:
        return self.value("stalled_uploads")

    @property
    def in_step(self) -> float | None:
        return self.value("uploads_in_step", step="virusscan")


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    for upload_id in ("u1", "u2"):
        await watched.add(upload_id)
    running = asyncio.create_task(watched.gauges.run())
    yield watched
    running.cancel()
    await asyncio.wait([running])


async def test_they_show_what_is_there_now(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "_BRIEFLY_SECONDS", 60.0)
    watched.store.counted.set()
    watched.store.rest_read.set()
    await watched.gauges.look_up()
    assert (watched.in_step, watched.stalled) == (2, 2)
    assert (watched.value("oldest_processing_seconds") or 0) > 3599
    await watched.add("u3")
    await watched.gauges.look_up()
    assert watched.in_step == 3


async def test_who_asks_does_not_wait_for_the_first_walk(watched: Watched) -> None:
    watched.store.counted.set()
    async with asyncio.timeout(60):
        await watched.gauges.look_up()
        assert (watched.in_step, watched.stalled) == (2, 1)  # one was met so far
        watched.store.rest_read.set()
        await watched.gauges.look_up()
    assert watched.stalled == 2


async def test_who_asks_does_not_wait_for_the_walk_of_another(watched: Watched) -> None:
    async with watched.survey.counted() as tally:
        tally.add((await watched.store.get("u1") or pytest.fail("no record")).progress)
        async with asyncio.timeout(60):
            await watched.gauges.look_up()
        assert watched.stalled == 1


async def test_a_count_that_takes_long_goes_on_when_nobody_waits_for_it(watched: Watched) -> None:
    async with asyncio.timeout(60):
        await watched.gauges.look_up()
    assert watched.in_step is None
    watched.store.counted.set()
    await eventually(lambda: watched.in_step == 2)


async def test_a_store_that_is_away_leaves_them_as_they_were(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "_BRIEFLY_SECONDS", 60.0)
    watched.store.counted.set()
    watched.store.rest_read.set()
    await watched.gauges.look_up()
    watched.store.away = True
    await watched.gauges.look_up()
    assert (watched.in_step, watched.stalled) == (2, 2)
    watched.store.away = False
    await watched.add("u3")
    await watched.gauges.look_up()
    assert watched.in_step == 3
