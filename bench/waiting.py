"""100,000 uploads that wait in a step: what start, list, resume and the periodic walks cost, and hold up.

    make bench ARGS="waiting -- [COUNT [STORE…]]"          (default: 100000, all stores)

While all of that goes on, a single upload begins every 50 ms and is answered at once: how long each took from its
first event to the decision tells what it was held up by.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import psutil
from _platform import Load
from _servers import cpu_seconds, free_port

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests know how to start the servers

from penstock.app.opening import store_of
from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.clock import SystemClock
from penstock.postprocessing.coordinator import Coordinator
from penstock.postprocessing.reconcile import Reconciler
from penstock.postprocessing.survey import Survey
from penstock.telemetry import Metrics
from tests.servers.waiting import POLICY, STEP, STORES, fill, running, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.servers.waiting import Environment

_EVERY_SECONDS: Final = 0.05
_LIMIT_SECONDS: Final = 900.0
_QUIET_SECONDS: Final = 10.0


class Walk(NamedTuple):
    """What a walk over all records cost."""

    seconds: float
    cpu_seconds: float
    lag_ms: float
    """The longest time for which nothing else could run."""


class Command(NamedTuple):
    """What a command cost."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    rows: int


class Service:
    """A running `penstock postprocessing server`."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.port = free_port()
        self._begun = time.perf_counter()
        command = [sys.executable, "-m", "penstock", "postprocessing", "server"]
        more = {"POSTPROCESSING_DEBUG_ADDR": f"127.0.0.1:{self.port}", "PENSTOCK_LOG_LEVEL": "warning"}
        self.process = subprocess.Popen(
            command, env=os.environ | environment | more, stdout=subprocess.DEVNULL, cwd=folder
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def resident_mib(self) -> float:
        """The memory that it has now."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20

    @property
    def peak_mib(self) -> float:
        """The most memory that it had so far."""
        return _peak_mib(self.pid)

    async def ready(self) -> float:
        """Wait until it is ready; return how long it took from its start, in seconds."""
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    answer = await client.get(f"http://127.0.0.1:{self.port}/readyz", timeout=10)
                    if answer.is_success:
                        return time.perf_counter() - self._begun
                except httpx.HTTPError:
                    pass
                if self.process.poll() is not None:
                    raise RuntimeError(f"the service has ended with status {self.process.returncode}")
                await asyncio.sleep(0.05)

    async def metrics(self) -> float:
        """Ask for its metrics; return how long the answer took, in seconds."""
        begin = time.perf_counter()
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.get(f"http://127.0.0.1:{self.port}/metrics", timeout=_LIMIT_SECONDS)).raise_for_status()
        return time.perf_counter() - begin

    async def quiet(self) -> float:
        """Wait until it has nothing to do; return how long that took, in seconds."""
        begin, before = time.perf_counter(), cpu_seconds(self.pid)
        while time.perf_counter() - begin < _LIMIT_SECONDS:
            await asyncio.sleep(2)
            now = cpu_seconds(self.pid)
            if now - before < 0.4:
                break
            before = now
        return time.perf_counter() - begin - 2

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main() -> None:
    """Measure each store."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for store in sys.argv[2:] or STORES:
        with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as base:
            print(f"\n{store}, {count} uploads waiting, load {os.getloadavg()[0]:.1f}", flush=True)
            with running(store, Path(base)) as (nats_port, environment):
                asyncio.run(_measure(store, count, nats_port, environment, Path(base)))


async def _measure(store: str, count: int, nats_port: int, environment: Environment, folder: Path) -> None:
    begin = time.perf_counter()
    if store != "memory":
        await fill(environment, count)
        _tell("filling", seconds=time.perf_counter() - begin)
        for name, walk in (await _walks(environment)).items():
            _tell(name, seconds=walk.seconds, cpu_s=walk.cpu_seconds, blocks_ms=walk.lag_ms)
    service = Service(environment, folder)
    try:
        seconds = await service.ready()
        _tell("ready", seconds=seconds, rss_mib=service.resident_mib, peak_mib=service.peak_mib)
        load = await Load.connect(nats_port, count=0, window=0)
        if store == "memory":
            await _upload(load, count)
            _tell("filling", seconds=time.perf_counter() - begin)
        async with _uploads(load):
            await _phases(store, count, load, service, environment, folder)
        load.close()
    finally:
        service.end()


async def _phases(store: str, count: int, load: Load, service: Service, environment: Environment, folder: Path) -> None:
    with _latencies(load, "after start"):
        await asyncio.sleep(10)
    await service.quiet()
    with _latencies(load, "quiet"):
        await asyncio.sleep(_QUIET_SECONDS)
    with _latencies(load, "metrics"), _cpu(service):
        _tell("metrics", seconds=await service.metrics())
    if store != "memory":
        with _latencies(load, "list"):
            _tell_command("list", await _command(environment, folder, "list", "--json"))
    load.foreign.clear()
    begin = time.perf_counter()
    with _latencies(load, "resume"), _cpu(service):
        _tell_command("resume", await _command(environment, folder, "resume", "-s", STEP, "--json"))
        await _until(lambda: len(load.foreign) >= count)
        _tell("resume, all announced", seconds=time.perf_counter() - begin, peak_mib=service.peak_mib)
    with _latencies(load, "after resume"), _cpu(service):
        await asyncio.sleep(20)
    _tell("in the end", rss_mib=service.resident_mib, peak_mib=service.peak_mib)


async def _walks(environment: Environment) -> dict[str, Walk]:
    """Take the walks of the service by themselves, so that their cost can be told from other work."""
    clock, metrics = SystemClock(), Metrics()
    settings = settings_of(environment)
    async with LocalBus(clock) as bus, store_of(settings, POLICY) as store:
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
        return {
            "survey": await _walk(survey.numbers),
            "mend": await _walk(reconciler.mend),
            "count": await _walk(store.count_by_step),
        }


async def _walk(work: Callable[[], Awaitable[Any]]) -> Walk:
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
    found = Walk(time.perf_counter() - begin, time.process_time() - cpu, 0)
    watching.cancel()
    return found._replace(lag_ms=lag * 1000)


async def _upload(load: Load, count: int) -> None:
    """Have the service itself take uploads in that nobody answers."""
    for number in range(count):
        load.put(answer=False)
        if number % 200 == 0:
            await _until(lambda number=number: len(load.foreign) > number - 1000)
    await _until(lambda: len(load.foreign) >= count)


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
def _latencies(load: Load, phase: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    end = time.perf_counter()
    taken = [
        (timing.finished or end) - timing.put for timing in load.uploads.values() if begin <= timing.put < end - 0.001
    ]
    cuts = statistics.quantiles(taken, n=100) if len(taken) > 1 else [0.0] * 99
    _tell(
        f"  uploads: {phase}", uploads=len(taken), p50_ms=cuts[49] * 1000, p99_ms=cuts[98] * 1000,
        max_ms=max(taken, default=0) * 1000,
    )  # fmt: skip


@contextmanager
def _cpu(service: Service) -> Iterator[None]:
    begin, before = time.perf_counter(), cpu_seconds(service.pid)
    yield
    spent = cpu_seconds(service.pid) - before
    _tell("  service", cpu_s=spent, cpu_percent=spent / (time.perf_counter() - begin) * 100)


async def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _LIMIT_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("it takes too long")
        await asyncio.sleep(0.01)


async def _command(environment: Environment, folder: Path, *arguments: str) -> Command:
    return await asyncio.to_thread(_run, environment, folder, arguments)


def _run(environment: Environment, folder: Path, arguments: tuple[str, ...]) -> Command:
    """Run a command of the operator to its end."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "postprocessing", *arguments],
            env=os.environ | environment,
            stdout=output,
            cwd=folder,
        )
        peak_mib = 0.0
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak_mib = max(peak_mib, _peak_mib(process.pid))
            time.sleep(0.01)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        output.seek(0)
        document = json.load(output)
    return Command(
        seconds, usage.ru_maxrss / 1024, len(document if isinstance(document, list) else document["results"])
    )


def _peak_mib(pid: int) -> float:
    """Return the most memory that a process had so far; the system counts that of its parent to `ru_maxrss`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def _tell_command(name: str, command: Command) -> None:
    _tell(name, seconds=command.seconds, cpu_s=command.cpu_seconds, peak_mib=command.peak_mib, rows=command.rows)


def _tell(what: str, **figures: float) -> None:
    told = "  ".join(f"{name} {figure:.{0 if isinstance(figure, int) else 1}f}" for name, figure in figures.items())
    print(f"  {what:28} {told}", flush=True)


if __name__ == "__main__":
    main()
