"""The service that is measured, and the commands of operators: how long they take, of what time and memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx
import psutil
from _servers import cpu_seconds, free_port

if TYPE_CHECKING:
    from tests.servers.waiting import Environment

LIMIT_SECONDS: Final = 900.0


class Cost(NamedTuple):
    """What something took."""

    seconds: float
    cpu_seconds: float


class Command(NamedTuple):
    """What a command cost."""

    cost: Cost
    peak_mib: float
    rows: int


class Service:
    """A service that runs: `penstock postprocessing server`, or `penstock serve` with `address`."""

    def __init__(self, environment: Environment, folder: Path, *words: str, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self._begun = time.perf_counter()
        command = [sys.executable, "-m", "penstock", *(words or ("postprocessing", "server"))]
        more = {"POSTPROCESSING_DEBUG_ADDR": f"127.0.0.1:{self.port}"} if not words else {}
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment | more | {"PENSTOCK_LOG_LEVEL": "error"},
            stdout=subprocess.DEVNULL,
            cwd=folder,
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
        return peak_mib(self.pid)

    @property
    def cpu_seconds(self) -> float:
        """The CPU time that it took so far."""
        return cpu_seconds(self.pid)

    async def ready(self) -> Cost:
        """Wait until it is ready; return what that took, from its start."""
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    answer = await client.get(f"http://127.0.0.1:{self.port}/readyz", timeout=10)
                    if answer.is_success:
                        return Cost(time.perf_counter() - self._begun, self.cpu_seconds)
                except httpx.HTTPError:
                    pass
                if self.process.poll() is not None:
                    raise RuntimeError(f"the service has ended with status {self.process.returncode}")
                await asyncio.sleep(0.05)

    async def metrics(self) -> float:
        """Ask for its metrics; return how long the answer took, in seconds."""
        begin = time.perf_counter()
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.get(f"http://127.0.0.1:{self.port}/metrics", timeout=LIMIT_SECONDS)).raise_for_status()
        return time.perf_counter() - begin

    async def quiet(self) -> None:
        """Wait until it has nothing to do."""
        begin, before = time.perf_counter(), self.cpu_seconds
        while time.perf_counter() - begin < LIMIT_SECONDS:
            await asyncio.sleep(2)
            now = self.cpu_seconds
            if now - before < 0.4:
                break
            before = now

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


async def run_command(environment: Environment, folder: Path, *arguments: str) -> Command:
    """Run `penstock postprocessing …` to its end."""
    return await asyncio.to_thread(_run, environment, folder, arguments)


def _run(environment: Environment, folder: Path, arguments: tuple[str, ...]) -> Command:
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "postprocessing", *arguments, "--json"],
            env=os.environ | environment,
            stdout=output,
            cwd=folder,
        )
        peak = 0.0
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, peak_mib(process.pid))
            time.sleep(0.01)
        _, status, usage = ended
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with status {process.returncode}: {text[:1000].decode()}")
    document = json.loads(text)
    rows = document if isinstance(document, list) else document["results"]
    return Command(Cost(seconds, usage.ru_utime + usage.ru_stime), peak, len(rows))


def peak_mib(pid: int) -> float:
    """Return the most memory that a process had so far; the system counts that of its parent to `ru_maxrss`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
