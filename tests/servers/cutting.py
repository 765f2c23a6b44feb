"""A line that breaks, or stands still: passes connections on, up to so many bytes of the client's on each one."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE: Final = 256 * 1024
_RESET: Final = struct.pack("ii", 1, 0)
"""Linger for no time: closing resets the connection, and what is under way is lost."""


class CuttingProxy:
    """Cuts every other connection at once, with a reset, and the others as if the client had ended."""

    def __init__(self, upstream_port: int, every_bytes: int) -> None:
        self.port = 0
        self.cuts = 0
        self.passed_bytes = 0
        """What has come from clients, since all began."""
        self.ready = threading.Event()
        self._lines = set[asyncio.Task[None] | None]()
        """What copies: the loop itself does not hold on to it."""
        self._upstream_port = upstream_port
        self._every = every_bytes

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self) -> None:
        """Pass on until `stop`; what is under way then is left."""
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        async with server:
            await self._stopped.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        except OSError:
            writer.close()
            return
        back = asyncio.create_task(_copy(upstream_reader, writer))
        self._lines |= {asyncio.current_task(), back}
        try:
            if await self._forth(reader, upstream):
                self.cuts += 1
                if self.cuts % 2:
                    for end in (upstream, writer):
                        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            else:
                await back
        except OSError:
            pass  # one of them has gone
        finally:
            back.cancel()
            for end in (upstream, writer):
                end.close()
            self._lines -= {asyncio.current_task(), back}

    async def _forth(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> bool:
        """Pass on what the client sends; tell whether it is time to cut."""
        left = self._every
        while piece := await reader.read(min(_PIECE, left)):
            upstream.write(piece)
            await upstream.drain()
            self.passed_bytes += len(piece)
            left -= len(piece)
            if not left:
                return True
        upstream.write_eof()
        return False


class HoldingProxy(CuttingProxy):
    """Cuts nothing: keeps back what comes after so many bytes of a connection, until it is told to let go."""

    def __init__(self, upstream_port: int, after_bytes: int) -> None:
        super().__init__(upstream_port, after_bytes)
        self._free = asyncio.Event()

    def let_go(self) -> None:
        """Pass all on from now on."""
        self._loop.call_soon_threadsafe(self._free.set)

    async def _forth(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> bool:
        if not await super()._forth(reader, upstream):
            return False
        await self._free.wait()
        self._every = sys.maxsize
        return await super()._forth(reader, upstream)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass  # one of them has gone
    finally:
        writer.close()


P = TypeVar("P", bound=CuttingProxy)


@contextmanager
def cutting(upstream_port: int, every_bytes: int) -> Iterator[CuttingProxy]:
    """Run one that cuts, in a thread of its own."""
    with _running(CuttingProxy(upstream_port, every_bytes)) as proxy:
        yield proxy


@contextmanager
def holding(upstream_port: int, after_bytes: int) -> Iterator[HoldingProxy]:
    """Run one that holds, in a thread of its own."""
    with _running(HoldingProxy(upstream_port, after_bytes)) as proxy:
        yield proxy


@contextmanager
def _running(proxy: P) -> Iterator[P]:
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve()))
    thread.start()
    try:
        assert proxy.ready.wait(60)
        yield proxy
    finally:
        proxy.stop()
        thread.join(60)
