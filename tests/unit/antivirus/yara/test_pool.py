"""The workers of a scanner: how many there are, and what becomes of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from penstock.antivirus import LocalFile, ScannerUnavailable, ScanTimeout, Verdict
from penstock.antivirus.yara import YaraScanner
from penstock.antivirus.yara.pool import WorkerPool
from penstock.antivirus.yara.process import Setup
from penstock.clock import SystemClock
from penstock.testing import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.unit.conftest import LetPass

RUNAWAY = "rule Runaway { condition: filesize == 7 and for all i in (0..1000000000000) : (i >= 0) }"
"""Runs for hours on a file of seven bytes."""

SERVER = """
import asyncio, sys
from pathlib import Path
from penstock.antivirus import LocalFile
from penstock.antivirus.yara import YaraScanner
from penstock.antivirus.yara.pool import WorkerPool
from penstock.antivirus.yara.process import Setup
from penstock.clock import SystemClock

async def main():
    async with YaraScanner([Path(sys.argv[1])], clock=SystemClock()) as scanner:
        print("ready", flush=True)
        if len(sys.argv) > 2:
            await scanner.scan(LocalFile(Path(sys.argv[2])), size_bytes=7)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "runaway.yar").write_text(RUNAWAY)
    return tmp_path / "runaway.yar"


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    (tmp_path / "seven").write_bytes(b"7 bytes")
    return tmp_path / "seven"


@pytest.fixture
def harmless(tmp_path: Path) -> Path:
    (tmp_path / "harmless").write_bytes(b"harmless")
    return tmp_path / "harmless"


@asynccontextmanager
async def closing(pool: WorkerPool) -> AsyncIterator[WorkerPool]:
    try:
        yield pool
    finally:
        await pool.close()


def workers(parent: int | None = None) -> list[int]:
    children = psutil.Process(parent or os.getpid()).children()
    found = []
    for child in children:
        with suppress(psutil.NoSuchProcess):  # it has ended since
            if "penstock.antivirus.yara_worker" in child.cmdline():
                found.append(child.pid)
    return found


def has_open(pid: int, file: Path) -> bool:
    with suppress(FileNotFoundError):  # another one was closed while we looked
        return str(file) in [os.readlink(descriptor) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]
    return False


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def setup(rules: Path) -> Setup:
    return Setup(rules=[str(rules)], built_in=[], memory_bytes=2**30)


async def borrow(pool: WorkerPool) -> int:
    async with pool.worker() as worker:
        return worker.pid


async def test_workers_are_started_when_needed_and_kept(setup: Setup) -> None:
    async with closing(WorkerPool(setup, size=2)) as pool:
        assert workers() == []
        async with pool.worker() as first:
            assert workers() == [first.pid]
            async with pool.worker() as second:
                assert sorted(workers()) == sorted([first.pid, second.pid])
                third = asyncio.create_task(borrow(pool))
                await asyncio.sleep(0)
                assert not third.done()  # there are two at most
            assert await third == second.pid
        assert await borrow(pool) == first.pid
    assert workers() == []


async def test_nothing_is_lent_once_it_is_closed(setup: Setup) -> None:
    pool = WorkerPool(setup, size=1)
    await pool.close()
    with pytest.raises(ScannerUnavailable, match="closed"):
        await borrow(pool)


async def test_closing_does_not_miss_a_worker_that_is_being_started(setup: Setup) -> None:
    pool = WorkerPool(setup, size=1)
    starting = asyncio.create_task(borrow(pool))
    await eventually(workers)
    await pool.close()
    with pytest.raises(ScannerUnavailable, match="closed"):
        await starting
    assert workers() == []


async def test_a_runaway_rule_is_given_up_and_stalls_nobody(
    rules: Path, seven: Path, harmless: Path, let_pass: LetPass
) -> None:
    async with YaraScanner([rules], clock=SystemClock(), max_workers=2) as scanner:
        (worker,) = workers()
        runaway = asyncio.create_task(scanner.scan(LocalFile(seven), size_bytes=7, timeout=timedelta(hours=1)))
        await eventually(lambda: has_open(worker, seven))
        for _ in range(6):
            assert (await scanner.scan(LocalFile(harmless), size_bytes=8)).verdict is Verdict.CLEAN
        assert not runaway.done()
        let_pass(3601)
        with pytest.raises(ScanTimeout):
            await runaway
        assert (await scanner.scan(LocalFile(harmless), size_bytes=8)).verdict is Verdict.CLEAN
        await eventually(lambda: len(workers()) == 1)


async def test_scans_that_run_when_it_is_closed_end_with_an_error(rules: Path, seven: Path) -> None:
    async with YaraScanner([rules], clock=SystemClock(), max_workers=1) as scanner:
        running = asyncio.create_task(scanner.scan(LocalFile(seven), size_bytes=7))
        waiting = asyncio.create_task(scanner.scan(LocalFile(seven), size_bytes=7))
        (worker,) = workers()
        await eventually(lambda: has_open(worker, seven))
    for scan in (running, waiting):
        with pytest.raises(ScannerUnavailable):
            await asyncio.wait_for(scan, 60)
    assert workers() == []
    with pytest.raises(ScannerUnavailable, match="closed"):
        await scanner.scan(LocalFile(seven), size_bytes=7)


async def test_a_scanner_that_was_not_started_says_so(seven: Path) -> None:
    scanner = YaraScanner(clock=SystemClock())
    with pytest.raises(ScannerUnavailable, match="not been started"):
        await scanner.scan(LocalFile(seven), size_bytes=7)


@pytest.fixture(params=["idle", "busy"])
def server(request: pytest.FixtureRequest, rules: Path, seven: Path) -> Iterator[subprocess.Popen[str]]:
    busy = [str(seven)] if request.param == "busy" else []
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(rules), *busy], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_workers_die_with_a_server_that_is_killed(server: subprocess.Popen[str]) -> None:
    assert server.stdout is not None
    while "ready" not in server.stdout.readline():  # its log lines come first
        assert server.poll() is None
    (worker,) = workers(server.pid)
    server.send_signal(signal.SIGKILL)
    await eventually(lambda: gone(worker))


async def test_a_worker_that_wants_too_much_memory_ends_alone(tmp_path: Path, harmless: Path) -> None:
    # A million matches are kept for each pattern whose number of matches matters.
    patterns = {f"$z{length}": " ".join(["00"] * length) for length in range(2, 12)}
    strings = " ".join(f"{name} = {{ {pattern} }}" for name, pattern in patterns.items())
    counts = " + ".join(name.replace("$", "#") for name in patterns)
    (tmp_path / "greedy.yar").write_text(f"rule Greedy {{ strings: {strings} condition: {counts} > 100000000 }}")
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as file:  # a test may wait
        file.truncate(16 * 2**20)
    async with YaraScanner([tmp_path / "greedy.yar"], clock=SystemClock(), memory_bytes=96 * 2**20) as scanner:
        with pytest.raises(ScannerUnavailable, match="SIGABRT"):
            await scanner.scan(LocalFile(zeros), size_bytes=16 * 2**20)
        assert (await scanner.scan(LocalFile(harmless), size_bytes=8)).verdict is Verdict.CLEAN
