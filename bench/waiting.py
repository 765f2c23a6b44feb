"""100,000 uploads that wait in a step: what start, list, resume and the periodic walks cost, and hold up.

    make bench ARGS="waiting -- [COUNT [STORE…]]"          (default: 100000, all stores)

While all of that goes on, a single upload begins every 50 ms and is answered at once: how long each took from its
first event to the decision tells what it was held up by. With `sqlite`, the store of `penstock serve`, it is the time
from the request that creates it to the answer that all of it is there.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from _platform import Load
from _waiting_processes import LIMIT_SECONDS, Cost, Service, run_command
from _waiting_serve import measure_serve
from _waiting_table import Row, print_table

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests know how to start the servers

from penstock.app.opening import UNSEEN, store_of
from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.clock import SystemClock
from penstock.postprocessing.coordinator import Coordinator
from penstock.postprocessing.reconcile import Reconciler
from penstock.postprocessing.survey import Survey
from penstock.telemetry import Metrics
from tests.servers.waiting import POLICY, STEP, STORES, fill_store, running, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.servers.waiting import Environment

_EVERY_SECONDS: Final = 0.05
_QUIET_SECONDS: Final = 10.0
SERVE: Final = "sqlite"


def main() -> None:
    """Measure each store."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rows = []
    for store in sys.argv[2:] or (*STORES, SERVE):
        print(f"\n{store}, {count} uploads waiting, load {os.getloadavg()[0]:.1f}", flush=True)
        row = Row(store)
        rows.append(row)
        measure(row, count)
        print_table([row])
    if len(rows) > 1:
        print_table(rows)


def measure(row: Row, count: int) -> None:
    """Measure one store."""
    if row.store == SERVE:
        measure_serve(row, count)
        return
    with (
        tempfile.TemporaryDirectory(dir=Path(__file__).parent) as base,
        running(row.store, Path(base), room=count + 10_000) as (nats_port, environment),
    ):
        asyncio.run(_measure(row, count, nats_port, environment, Path(base)))


async def _measure(row: Row, count: int, nats_port: int, environment: Environment, folder: Path) -> None:
    row.sweep = await _sweep(environment, count)
    service = Service(environment, folder)
    try:
        row.start = await service.ready()
        load = await Load.connect(nats_port, count=0, window=0)
        if row.store in UNSEEN:
            await _upload(load, count)
        async with _uploads(load):
            await _phases(row, count, load, service, environment, folder)
        load.close()
    finally:
        service.end()


async def _phases(row: Row, count: int, load: Load, service: Service, environment: Environment, folder: Path) -> None:
    with _latencies(load, row, "after start"):
        await asyncio.sleep(_QUIET_SECONDS)
    await service.quiet()
    with _latencies(load, row, "quiet"):
        await asyncio.sleep(_QUIET_SECONDS)
    with _latencies(load, row, "metrics"):
        _tell("metrics", seconds=await service.metrics())
    environment |= {"POSTPROCESSING_DEBUG_ADDR": f"127.0.0.1:{service.port}"}  # which knows what is in its memory
    with _latencies(load, row, "list"):
        listing = await run_command(environment, folder, "list")
    if listing.rows < count:
        raise RuntimeError(f"only {listing.rows} of {count} are listed")
    row.listing, row.command_mib = listing.cost, listing.peak_mib
    load.foreign.clear()
    begin, cpu = time.perf_counter(), service.cpu_seconds
    with _latencies(load, row, "resume"):
        resume = await run_command(environment, folder, "resume", "-s", STEP)
        await _until(lambda: len(load.foreign) >= count)
        row.resumed = Cost(time.perf_counter() - begin, service.cpu_seconds - cpu)
    row.resume, row.command_mib = resume.cost, max(row.command_mib, resume.peak_mib)
    with _latencies(load, row, "after resume"):
        await asyncio.sleep(_QUIET_SECONDS)
    row.service_mib = service.peak_mib


async def _sweep(environment: Environment, count: int) -> Cost:
    """Fill the store; take the walks of the service by themselves, so that their cost can be told from other work."""
    clock, metrics = SystemClock(), Metrics()
    async with LocalBus(clock) as bus, store_of(settings_of(environment), POLICY) as store:
        begin = time.perf_counter()
        await fill_store(store, count)
        _tell("filling", seconds=time.perf_counter() - begin)
        coordinator = Coordinator(
            store=store, bus=bus, publisher=Publisher(bus, clock), policy=POLICY, clock=clock, metrics=metrics
        )
        survey = Survey(store=store, clock=clock, stalled_after=timedelta(minutes=10))
        reconciler = Reconciler(
            store=store,
            coordinator=coordinator,
            memory=bus.memory,
            clock=clock,
            interval=timedelta(minutes=1),
            survey=survey,
        )
        await _walk("count", store.count_by_step)
        return await _walk("sweep", reconciler.mend)


async def _walk(name: str, work: Callable[[], Awaitable[Any]]) -> Cost:
    lag = 0.0

    async def watch() -> None:
        nonlocal lag
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            lag = max(lag, time.perf_counter() - before - 0.001)

    watching = asyncio.create_task(watch())
    begin, cpu = time.perf_counter(), time.process_time()
    await work()
    cost = Cost(time.perf_counter() - begin, time.process_time() - cpu)
    watching.cancel()
    _tell(name, seconds=cost.seconds, cpu_s=cost.cpu_seconds, blocks_ms=lag * 1000)
    return cost


async def _upload(load: Load, count: int) -> None:
    """Have the service itself take uploads in that nobody answers."""
    begin = time.perf_counter()
    for number in range(count):
        load.put(answer=False)
        if number % 200 == 0:
            await _until(lambda number=number: len(load.foreign) > number - 1000)
    await _until(lambda: len(load.foreign) >= count)
    _tell("filling the service", seconds=time.perf_counter() - begin)


@asynccontextmanager
async def _uploads(load: Load) -> AsyncIterator[None]:
    """Begin an upload now and then."""

    async def put() -> None:
        while True:
            load.put()
            await asyncio.sleep(_EVERY_SECONDS)

    task = asyncio.create_task(put())
    yield
    task.cancel()


@contextmanager
def _latencies(load: Load, row: Row, phase: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    end = time.perf_counter()
    row.latencies[phase] = [
        (timing.finished or end) - timing.put for timing in load.uploads.values() if begin <= timing.put < end - 0.001
    ]


async def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("it takes too long")
        await asyncio.sleep(0.01)


def _tell(what: str, **figures: float) -> None:
    told = "  ".join(f"{name} {figure:.1f}" for name, figure in figures.items())
    print(f"  {what:20} {told}", flush=True)


if __name__ == "__main__":
    main()
