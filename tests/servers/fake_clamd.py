"""A clamd that answers as the file tells it to, for what the real one does not do on command."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from penstock.antivirus.eicar import eicar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MEMORY, GARBAGE, SILENCE, CLOSE, SLOW = b"memory!", b"garbage!", b"silence!", b"close!", b"slow!"
SLOW_SECONDS = 0.6


@asynccontextmanager
async def running_fake_clamd() -> AsyncIterator[str]:
    """Run one that finds EICAR, and does what else a file says; yields its address."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _converse(reader, writer)
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"tcp://{host}:{port}"
        server.close()
        for task in tuple(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    kind = await reader.readexactly(1)
    command = await reader.readuntil(b"\0" if kind == b"z" else b"\n")
    end = command[-1:]
    if command.startswith(b"VERSION"):
        writer.write(b"ClamAV 1.4.6" + end)
        return
    data = bytearray()
    while length := int.from_bytes(await reader.readexactly(4), "big"):
        data += await reader.readexactly(length)
    if SILENCE in data:
        await asyncio.Event().wait()
    if SLOW in data:
        await asyncio.sleep(SLOW_SECONDS)
    if CLOSE not in data:
        writer.write(_answer(data) + end)


def _answer(data: bytearray) -> bytes:
    if eicar() in data:
        return b"stream: Eicar FOUND"
    if MEMORY in data:
        return b"stream: Can't allocate memory ERROR"
    return b"\xff\x00 what?" if GARBAGE in data else b"stream: OK"
