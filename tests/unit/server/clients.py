"""A client that sends what it likes, and a server for it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self

from penstock.http.asgi import EXCHANGE, Asgi, Scope, Send
from penstock.server.embed import serve
from penstock.server.exchange import Exchange
from tests.servers.ports import free_port

LONG = 60.0


def exchange_of(scope: Scope) -> Exchange:
    exchange: Exchange = scope["extensions"][EXCHANGE]
    return exchange


async def answer(send: Send, status: int, body: bytes) -> None:
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


class Client:
    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def flood(self, count: int) -> None:
        for _ in range(count // 100_000):
            self.send(bytes(100_000))
            await asyncio.wait_for(self.writer.drain(), LONG)

    async def head(self) -> str:
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), LONG)).decode().lower()

    async def exactly(self, count: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), LONG)

    async def closed(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), LONG)

    def reset(self) -> None:
        own: socket.socket = self.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def serving(app: Asgi, grace: timedelta = timedelta(seconds=1)) -> AsyncIterator[Callable[[], Client]]:
    port = free_port()
    stop = asyncio.Event()

    async def nothing() -> None:
        pass

    server = asyncio.create_task(serve(app, "127.0.0.1", port, stop=stop, grace=grace, ending=nothing))
    while not server.done():
        try:
            async with Client(port):
                break
        except OSError:
            await asyncio.sleep(0.01)
    yield lambda: Client(port)
    stop.set()
    await asyncio.wait_for(server, LONG)
