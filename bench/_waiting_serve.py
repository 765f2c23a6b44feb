"""The same for `penstock serve`, with its own store, its catalogue, and the bytes of each upload in a file."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
from _servers import free_port
from _waiting_processes import LIMIT_SECONDS, Cost, Service, run_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from _waiting_table import Row

_CLIENT: Final = Path(__file__).resolve().parent.parent / "tests" / "e2e" / "load_client.py"
_CONNECTIONS: Final = 16
_AT_A_TIME: Final = 16_000
"""Uploads per run of the client, which has five minutes."""
_STEP: Final = "ocr"
_STEP_FILE: Final = Path(__file__).with_name("waiting_step.py")
_EVERY_SECONDS: Final = 0.05
_QUIET_SECONDS: Final = 10.0


def measure_serve(row: Row, count: int) -> None:
    """Fill a server with uploads, start it anew, and measure."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108  tmpfs is the point
        asyncio.run(_measure(row, count, Path(folder)))


def _served(folder: Path) -> Service:
    port = free_port()
    words = ("serve", "--http-addr", f"127.0.0.1:{port}", "--data-dir", str(folder), "--steps", str(_STEP_FILE))
    return Service({"POSTPROCESSING_STEPS": _STEP}, folder, *words, port=port)


async def _measure(row: Row, count: int, folder: Path) -> None:
    service = _served(folder)
    try:
        await service.ready()
        begin = time.perf_counter()
        for done in range(0, count, _AT_A_TIME):
            some = max(_CONNECTIONS, min(_AT_A_TIME, count - done))
            command = [sys.executable, str(_CLIENT), str(service.port), str(some), str(_CONNECTIONS)]
            await asyncio.to_thread(subprocess.run, command, check=True)
        print(f"  filling {time.perf_counter() - begin:.0f} s, peak {service.peak_mib:.0f} MiB", flush=True)
        await service.quiet()
    finally:
        service.end()
    service = _served(folder)
    try:
        row.start = await service.ready()
        uploads = Uploads(service.port)
        async with uploads.running():
            await _phases(row, count, service, uploads, folder)
        row.service_mib = service.peak_mib
    finally:
        service.end()


async def _phases(row: Row, count: int, service: Service, uploads: Uploads, folder: Path) -> None:
    environment = {"PENSTOCK_URL": f"http://127.0.0.1:{service.port}"}
    with uploads.noted(row, "after start"):
        await asyncio.sleep(_QUIET_SECONDS)
    await service.quiet()
    with uploads.noted(row, "quiet"):
        await asyncio.sleep(_QUIET_SECONDS)
    with uploads.noted(row, "list"):
        listing = await run_command(environment, folder, "list")
    if listing.rows < count:
        raise RuntimeError(f"only {listing.rows} of {count} are listed")
    row.listing = listing.cost
    begin, cpu = time.perf_counter(), service.cpu_seconds
    with uploads.noted(row, "resume"):
        resume = await run_command(environment, folder, "resume", "-s", _STEP)
        await service.quiet()
    row.resume, row.resumed = resume.cost, Cost(time.perf_counter() - begin, service.cpu_seconds - cpu)
    row.command_mib = max(listing.peak_mib, resume.peak_mib)


class Uploads:
    """Sends a small upload now and then."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/uploads/"
        self._taken: list[float] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send them while the context is open."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        body = os.urandom(10_240)
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(len(body)),
            "Upload-Metadata": "filename bG9hZC5iaW4=",
            "Content-Type": "application/offset+octet-stream",
        }
        async with httpx.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
            while True:
                begin = time.perf_counter()
                (await client.post(self._url, content=body, headers=headers)).raise_for_status()
                self._taken.append(time.perf_counter() - begin)
                await asyncio.sleep(_EVERY_SECONDS)

    @contextmanager
    def noted(self, row: Row, phase: str) -> Iterator[None]:
        """Put how long each took into a row."""
        self._taken = []
        yield
        row.latencies[phase] = self._taken
