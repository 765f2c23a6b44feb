"""A fake clamd in a process of its own, with few places, that hangs on files that say so. It can be killed.

What real ones do not do on command. A hanging scan keeps its place until the other side goes away.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from penstock.antivirus.eicar import eicar

from .ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

ONCE, ALWAYS = b"hang once", b"hang always"
START_SECONDS = 120.0


class HangingClamd:
    """The process."""

    def __init__(self, places: int) -> None:
        [self.port] = free_ports(1)
        self._places = places
        self.process = self._start()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        """Start it on the same port."""
        self.process = self._start()

    def most_at_once(self) -> int:
        """How many scans it was ever asked for at the same time, since its start."""
        return int(self._ask(b"zSTATS\0").rstrip(b"\0"))

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.hanging_clamd", f"{self.port}", f"{self._places}"]
        )
        ends_at = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError):
                self._ask(b"zVERSION\0")
                return process
            assert process.poll() is None
            assert time.monotonic() < ends_at
            time.sleep(0.02)

    def _ask(self, command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(command)
            return connection.recv(1024)


@contextmanager
def running_hanging_clamd(places: int) -> Iterator[HangingClamd]:
    """Run one."""
    server = HangingClamd(places)
    try:
        yield server
    finally:
        server.kill()


class _Server:
    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._hung: set[bytes] = set()
        self._now = 0
        self._most = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            command = await reader.readuntil(b"\0")
            if command == b"zINSTREAM\0":
                writer.write(await self._scan(reader))
            else:
                told = (
                    str(self._most).encode()
                    if command == b"zSTATS\0"
                    else b"ClamAV 1.4.6/27500/Fri Nov 20 08:00:00 2026"
                )
                writer.write(told + b"\0")
        with suppress(OSError):
            writer.close()
            await writer.wait_closed()

    async def _scan(self, reader: asyncio.StreamReader) -> bytes:
        self._now += 1
        self._most = max(self._most, self._now)
        try:
            async with self._places:
                data = bytearray()
                while length := int.from_bytes(await reader.readexactly(4), "big"):
                    data += await reader.readexactly(length)
                if self._hangs(bytes(data)):
                    await reader.read()  # until the other side has gone
                return b"stream: Eicar FOUND\0" if eicar() in data else b"stream: OK\0"
        finally:
            self._now -= 1

    def _hangs(self, data: bytes) -> bool:
        if ALWAYS in data:
            return True
        hangs = ONCE in data and data not in self._hung
        self._hung.add(data) if hangs else None
        return hangs


async def _main(port: int, places: int) -> None:
    server = await asyncio.start_server(_Server(places).serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
