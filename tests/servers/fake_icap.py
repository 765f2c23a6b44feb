"""Something that takes an ICAP server's place and does what real ones do not do on command. Tests only.

It answers OPTIONS. What it does with a scan is a script: a coroutine function that gets the connection.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

OPTIONS = (
    b'ICAP/1.0 200 OK\r\nMethods: RESPMOD, REQMOD\r\nService: Fake 1\r\nISTag: "one"\r\nPreview: 1024\r\nAllow: 204\r\n'
    b"Encapsulated: null-body=0\r\n\r\n"
)
CLEAN = b'ICAP/1.0 204 Unmodified\r\nISTag: "one"\r\n\r\n'
_PAGE = b"HTTP/1.0 403 Forbidden\r\nContent-Type: text/html\r\n\r\n"
INFECTED = (
    b'ICAP/1.0 200 OK\r\nISTag: "one"\r\nX-Infection-Found: Type=0; Resolution=2; Threat=Eicar;\r\n'
    b"Encapsulated: res-hdr=0, res-body=%d\r\n\r\n" % len(_PAGE)
) + _PAGE


@dataclass
class Request:
    """A scan as it came."""

    head: bytes
    data: bytes
    preview: int | None
    """How many bytes came before we said that they should go on; None: there was no preview."""
    ieof: bool


@dataclass
class Peer:
    """The client, as a script sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fake: FakeIcap

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self, head: bytes | None = None, *, go_on: bool = True) -> Request:
        """Read a scan; a preview is asked to go on, unless it was all, or `go_on` says otherwise."""
        head = await self.head() if head is None else head
        encapsulated = re.search(rb"Encapsulated: .*?(\w+)-body=(\d+)\r", head)
        assert encapsulated is not None
        await self.reader.readexactly(int(encapsulated[2]))
        if encapsulated[1] == b"null":
            return Request(head, b"", None, ieof=False)
        data, ieof = await self._chunks()
        if b"\r\nPreview:" not in head:
            return Request(head, data, None, ieof=ieof)
        request = Request(head, data, len(data), ieof=ieof)
        if go_on:
            request.data += await self.rest(request)
        return request

    async def rest(self, request: Request) -> bytes:
        """Ask for what comes behind a preview, and read it."""
        if request.preview is None or request.ieof:
            return b""
        await self.say(b"ICAP/1.0 100 Continue\r\n\r\n")
        data, _ = await self._chunks()
        return data

    async def _chunks(self) -> tuple[bytes, bool]:
        data = b""
        while True:
            line = (await self.reader.readuntil(b"\r\n")).strip()
            size, _, extension = line.partition(b";")
            if int(size, 16) == 0:
                await self.reader.readexactly(2)
                return data, extension.strip() == b"ieof"
            data += await self.reader.readexactly(int(size, 16))
            assert await self.reader.readexactly(2) == b"\r\n"

    def reset(self) -> None:
        """End the connection without grace."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class FakeIcap:
    """Listens while its context is open."""

    script: Script
    options: bytes = OPTIONS
    url: str = ""
    connections: int = 0
    """How many were made for scans."""
    asked_for_options: int = 0
    requests: list[Request] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, self)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            start = await reader.readexactly(7)
            if start == b"OPTIONS":
                await peer.head()
                self.asked_for_options += 1
                await peer.say(self.options)
            else:
                self.connections += 1
                await self.script(peer)
        writer.close()


@asynccontextmanager
async def running_fake(
    script: Script, *, options: bytes = OPTIONS, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FakeIcap]:
    """Run one; the beginning of the first request of a connection, 7 bytes, is gone when the script gets it."""
    fake = FakeIcap(script, options)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await fake.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        fake.url = f"icap{'s' if tls else ''}://127.0.0.1:{port}/avscan"
        yield fake
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
