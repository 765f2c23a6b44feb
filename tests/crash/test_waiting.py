"""Many uploads that wait in a step hold up no others, and are never all in memory at once.

Nothing here is measured by the clock: a busy machine makes all of it slower alike. `PENSTOCK_WAITING_UPLOADS` says how
many wait, for larger numbers than the suite has time for; `make bench ARGS=waiting` tells how long things take.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from nats.aio.msg import Msg

from penstock.app.opening import store_of
from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.clock import SystemClock
from penstock.postprocessing.coordinator import Coordinator
from penstock.postprocessing.reconcile import Reconciler
from penstock.postprocessing.survey import Survey
from penstock.store.base import ProgressStore
from penstock.telemetry import Metrics
from penstock.testing import eventually
from tests.servers.copies import installed
from tests.servers.platform import Platform
from tests.servers.single import SingleService, running_services
from tests.servers.waiting import POLICY, STEP, STORES, Environment, fill, running, settings_of

WAITING = int(os.environ.get("PENSTOCK_WAITING_UPLOADS", "1500"))
FEW = WAITING // 5
MEANWHILE = 20
"""Uploads that begin while the others are resumed."""
SHARED = sorted(STORES.keys() - {"memory", "ocmem", "redis"})
"""`redis` differs from `redis-sentinel` in who is asked only; the others are in one process's memory."""
KIB, MIB = 2**10, 2**20


@pytest.fixture(params=SHARED)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Environment]]:
    with running(request.param, tmp_path) as found:
        yield found


@pytest.mark.timeout(900)
async def test_nothing_is_held_up(place: tuple[int, Environment], tmp_path: Path) -> None:
    port, environment = place
    await fill(environment, FEW)
    few = await _mend(environment, FEW)
    await fill(environment, WAITING - FEW)
    many = await _mend(environment, WAITING)
    # Five times as many records: five times the work, where a walk that looks at all for each takes 25 times as much.
    assert many.seconds < 15 * few.seconds + 0.2
    # Others get their turn all the time: were it one piece of work, its longest part would be all of it.
    assert many.longest_seconds < many.seconds / 3 + 0.05
    # A record takes some 2 KiB of memory, and a page of them is held at a time; an index takes some 300 bytes.
    assert many.peak_bytes < 4 * MIB + 0.7 * KIB * WAITING

    with (
        installed(),
        running_services(tmp_path, 1, "postprocessing", "server", OCIS_LOG_LEVEL="warning", **environment) as [service],
    ):
        assert len(await asyncio.to_thread(_command, environment, tmp_path, "list")) == WAITING
        between = await _resume_all(port, environment, tmp_path, service)
    assert sorted(between)[MEANWHILE // 2] < 300
    assert max(between) < 1500


class Cost:
    """What a walk cost, in CPU time of the event loop's thread."""

    seconds = 0.0
    longest_seconds = 0.0
    """Without a turn for anybody else."""
    peak_bytes = 0


async def _mend(environment: Environment, count: int) -> Cost:
    """Have the records walked over, as the service does now and then."""
    clock, metrics = SystemClock(), Metrics()
    async with LocalBus(clock) as bus, store_of(settings_of(environment), POLICY) as store:
        coordinator = Coordinator(
            store=store, bus=bus, publisher=Publisher(bus, clock), policy=POLICY, clock=clock, metrics=metrics
        )
        settings = settings_of(environment)
        survey = Survey(store=store, clock=clock, stalled_after=settings.stalled_after)
        reconciler = Reconciler(
            store=store,
            coordinator=coordinator,
            memory=bus.memory,
            clock=clock,
            interval=settings.reconcile_interval,
            survey=survey,
        )
        cost = await _watched(reconciler.mend)
        assert (await store.count_by_step()) == {STEP: count}
        assert (await survey.numbers()).oldest_seconds > 0
        cost.peak_bytes = await _peak(store)
    return cost


async def _watched(work: Callable[[], Awaitable[Any]]) -> Cost:
    cost = Cost()

    async def watch() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            cost.longest_seconds = max(cost.longest_seconds, now - before)
            before = now
            await asyncio.sleep(0.0005)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    before = time.process_time()
    await work()
    cost.seconds = time.process_time() - before
    watching.cancel()
    return cost


async def _peak(store: ProgressStore) -> int:
    """Return how much memory a walk takes at most."""
    tracemalloc.start()
    try:
        async for _ in store.all():
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Watching(Platform):
    """Notes where in the stream things are."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.started: dict[int, str] = {}
        self.put_at: dict[str, int] = {}

    def _handle(self, message: Msg) -> None:
        body = json.loads(message.data)
        upload = json.loads(base64.b64decode(body["Payload"])).get("UploadID", "")
        sequence = message.metadata.sequence.stream
        match body["Metadata"]["eventtype"]:
            case "events.StartPostprocessingStep":
                self.started[sequence] = upload
            case "events.BytesReceived":
                self.put_at[upload] = sequence
        super()._handle(message)

    @property
    def started_before_each(self) -> list[int]:
        """How many others were started between the arrival of an upload and the start of its step.

        In the one stream that carries everything, that is how long it had to wait.
        """
        own = {upload: sequence for sequence, upload in self.started.items() if upload in self.put_at}
        return [sum(put < at < own[upload] for at in self.started) for upload, put in self.put_at.items()]


async def _resume_all(port: int, environment: Environment, folder: Path, service: SingleService) -> list[int]:
    """Resume those that wait, and put others; return how many were started before each of these."""
    before = psutil.Process(service.process.pid).memory_info().rss
    async with Watching(f"127.0.0.1:{port}") as platform:
        resuming = asyncio.create_task(asyncio.to_thread(_command, environment, folder, "resume", "-s", STEP))
        await eventually(lambda: len(platform.started) > WAITING // 50, timeout_seconds=60 + WAITING / 100)
        await platform.put(MEANWHILE, window=5)
        await platform.settled(60 + WAITING / 100)
        await eventually(lambda: len(platform.started) >= WAITING + MEANWHILE, timeout_seconds=60 + WAITING / 50)
        assert len(await resuming) == WAITING
        assert not platform.wrong()
        between = platform.started_before_each
    grown = psutil.Process(service.process.pid).memory_info().rss - before
    assert grown < 80 * MIB + 2 * KIB * WAITING
    return between


def _command(environment: Environment, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run a command of operators; return its rows."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK", "POST", "OC"))}
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "postprocessing", *arguments, "--json"],
        env=kept | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    rows: list[dict[str, Any]] = document if isinstance(document, list) else document["results"]
    return rows
