"""Many slow clients at once, each trickling the body of a tus PATCH: memory of the server, and that all files arrive.

    make bench ARGS="slow -- [CLIENTS [SECONDS [KIB]]]"       (default: 1000 clients, 20 s, 64 KiB each)

One process `penstock serve` with its virus scanner takes all of them. Each client sends a piece of its file every
second, so that all are in the middle of a request at the same time, and the first is not done before the last has
begun. Memory is that of the server and its scanners, what they share counted once (PSS), and of the server by itself
(RSS). Ends with status 1 when a file is not released as it was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import resource
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx
import psutil
from _servers import cpu_seconds, proportional_mib, running

if TYPE_CHECKING:
    from _load import Target

LIMIT_MIB: Final = 200
"""What a thousand clients may take."""
_BEGINNING_AT_ONCE: Final = 50
_PATIENCE_SECONDS: Final = 120.0
_SEED: Final = b"slow"


class Load(NamedTuple):
    """What the clients do."""

    clients: int
    seconds: int
    size_bytes: int


class Client:
    """One that has little bandwidth."""

    def __init__(self, number: int, target: Target, load: Load) -> None:
        self._target = target
        self._load = load
        self.content = random.Random(_SEED + number.to_bytes(4, "big")).randbytes(load.size_bytes)  # noqa: S311  told apart
        self.upload_id = ""

    async def begin(self) -> None:
        """Create an upload, and begin to send it."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._target.port)
        length = self._load.size_bytes
        headers = await self._ask("POST", self._target.path, {"Upload-Length": length, "Content-Length": 0}, "201")
        path = "/" + headers["location"].split("/", 3)[3]
        self.upload_id = path.rpartition("/")[2]
        kind = "application/offset+octet-stream"
        self._send("PATCH", path, {"Upload-Offset": 0, "Content-Type": kind, "Content-Length": length})

    async def trickle(self) -> None:
        """Send all of it, piece by piece, and hear that it is there."""
        pieces = self._load.seconds
        for number in range(pieces):
            begin, end = (self._load.size_bytes * one // pieces for one in (number, number + 1))
            self._writer.write(self.content[begin:end])
            await asyncio.sleep(1)
        await self._answer("204")
        self._writer.close()

    async def _ask(self, method: str, path: str, headers: dict[str, object], status: str) -> dict[str, str]:
        self._send(method, path, headers)
        return await self._answer(status)

    def _send(self, method: str, path: str, headers: dict[str, object]) -> None:
        fields = {"Host": f"127.0.0.1:{self._target.port}", "Tus-Resumable": "1.0.0", **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self._writer.write("\r\n".join(lines).encode())

    async def _answer(self, status: str) -> dict[str, str]:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        if first.split()[1] != status:
            raise RuntimeError(f"the server answered {first!r}")
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def main() -> int:
    """Measure; return the exit status."""
    given = [int(one) for one in sys.argv[1:]]
    clients, seconds, kib = [*given, *(1000, 20, 64)[len(given) :]]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, clients + 200), hard), hard))
    with running("penstock", steps="virusscan") as target:
        return asyncio.run(_measure(target, Load(clients, seconds, kib * 1024)))


async def _measure(target: Target, load: Load) -> int:
    cpu, idle = cpu_seconds(target.pid), _memory(target.pid)
    peak = [*idle]
    watching = asyncio.create_task(_watch(target.pid, peak))
    clients = [Client(number, target, load) for number in range(load.clients)]
    beginning = asyncio.Semaphore(_BEGINNING_AT_ONCE)

    async def begin(client: Client) -> None:
        async with beginning:
            await client.begin()

    began_at = time.perf_counter()
    await asyncio.gather(*map(begin, clients))
    all_begun = time.perf_counter() - began_at
    ended = await asyncio.gather(*(client.trickle() for client in clients), return_exceptions=True)
    arrived = time.perf_counter() - began_at
    wrong = [error for error in ended if error is not None]
    wrong += await _not_released(target, clients)
    done = time.perf_counter() - began_at
    watching.cancel()
    cpu = cpu_seconds(target.pid) - cpu
    print(
        f"{'clients':>8} {'begun s':>8} {'arrived s':>10} {'released s':>11} {'right':>6} {'CPU s':>6} "
        f"{'idle MiB':>9} {'peak MiB':>9} {'server idle':>12} {'peak':>6} {'KiB each':>9}"
    )
    each = (peak[1] - idle[1]) * 1024 / load.clients
    print(
        f"{load.clients:8} {all_begun:8.1f} {arrived:10.1f} {done:11.1f} {load.clients - len(wrong):6} {cpu:6.1f} "
        f"{idle[0]:9.0f} {peak[0]:9.0f} {idle[1]:12.0f} {peak[1]:6.0f} {each:9.1f}"
    )
    print(f"the most that a thousand may take: {LIMIT_MIB} MiB; load {os.getloadavg()[0]:.1f}")
    for error in wrong[:5]:
        print(f"wrong: {error!r}", file=sys.stderr)
    return 1 if wrong else 0


def _memory(pid: int) -> tuple[float, float]:
    """Return that of the server and its scanners, and that of the server by itself."""
    return proportional_mib(pid), psutil.Process(pid).memory_info().rss / 2**20


async def _watch(pid: int, peak: list[float]) -> None:
    while True:
        peak[:] = map(max, peak, await asyncio.to_thread(_memory, pid))
        await asyncio.sleep(0.2)


async def _not_released(target: Target, clients: list[Client]) -> list[Exception]:
    """Wait until all files are released; return what is wrong with some of them."""
    wrong: list[Exception] = []
    ends_at = time.monotonic() + _PATIENCE_SECONDS
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{target.port}", trust_env=False, timeout=60) as http:
        for client in clients:
            url = f"/api/v1/files/{client.upload_id}/content"
            while (answer := await http.get(url)).status_code == 425 and time.monotonic() < ends_at:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            if hashlib.sha256(answer.content).digest() != hashlib.sha256(client.content).digest():
                wrong.append(RuntimeError(f"{url}: {answer.status_code}, {len(answer.content)} bytes"))
    return wrong


if __name__ == "__main__":
    sys.exit(main())
