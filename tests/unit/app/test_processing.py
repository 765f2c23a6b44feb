"""What the coordinator's parts tell of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from penstock.app.policy import policy_of
from penstock.app.processing import Processing
from penstock.bus.local import LocalBus
from penstock.clock import SystemClock
from penstock.core.progress import Progress, Status
from penstock.settings import load_settings
from penstock.store.base import Saved
from penstock.store.memory import MemoryStore
from penstock.telemetry import Metrics
from penstock.tracing import UNTRACED


class LargeStore(MemoryStore):
    """A store that takes its time to tell of the second record."""

    def __init__(self) -> None:
        super().__init__()
        self.rest_read = asyncio.Event()

    async def all(self) -> AsyncIterator[Saved]:
        async for saved in super().all():
            yield saved
            await self.rest_read.wait()


async def test_who_asks_whether_we_are_ready_does_not_wait_for_a_long_count(tmp_path: Path) -> None:
    clock, settings = SystemClock(), load_settings(environ={}, folder=tmp_path)
    long_ago = clock.now() - timedelta(hours=1)
    async with LargeStore() as store, LocalBus(clock) as bus:
        for number in range(2):
            waiting = Progress(
                upload_id=str(number),
                status=Status("ocr"),
                steps=("ocr",),
                started_at=long_ago,
                step_started_at=long_ago,
            )
            await store.save(waiting, expected=None)
        processing = Processing(
            settings,
            policy_of(settings),
            store=store,
            bus=bus,
            clock=clock,
            metrics=Metrics(),
            tracing=UNTRACED,
        )
        assert (await processing.check_stalled()).detail.startswith("1 uploads wait")
        store.rest_read.set()
        assert (await processing.check_stalled()).detail.startswith("2 uploads wait")
