"""Stands before an HTTP server and makes trouble: answers in its place, cuts connections, keeps silent.

It speaks as much HTTP/1.1 as clients of object stores do: bodies with a length, one request at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

_LONGEST_HEAD_BYTES: Final = 64 * 1024


class Trouble(Enum):
    """What becomes of a request."""

    ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
    LIE = b'HTTP/1.1 200 OK\r\nETag: "0123456789abcdef0123456789abcdef"\r\nContent-Length: 0\r\n\r\n'
    """Says yes, and does nothing."""
    CUT_REQUEST = b"request"
    """The connection ends in the middle of the body."""
    CUT_ANSWER = b"answer"
    """The connection ends in the middle of the answer's body, or before the end of its head."""
    REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    SILENCE = b"silence"
    """No answer ever comes."""


@dataclass
class UnrulyServer:
    """Passes requests on to `upstream`, but for the trouble that is planned."""

    upstream: str
    endpoint: str = ""
    plans: dict[str, list[Trouble]] = field(default_factory=dict)
    """By the method: what becomes of the next requests, one after the other."""
    always: dict[str, Trouble] = field(default_factory=dict)
    """By the method: what becomes of each request."""
    spared: str = ""
    """What has this in its address has no trouble; empty: nothing is spared."""
    every: dict[str, tuple[int, Trouble]] = field(default_factory=dict)
    """By the method: what becomes of each so manieth request."""
    left: int | None = None
    """How many requests are done before all are refused, as a client that dies would have done them; None: all."""
    seen: list[str] = field(default_factory=list)
    """The request lines."""

    def next_for(self, method: str) -> Trouble | None:
        if self.spared and self.spared in self.seen[-1]:
            return None
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                return Trouble.REFUSAL
        if method in self.every:
            number, trouble = self.every[method]
            if sum(line.startswith(f"{method} ") for line in self.seen) % number == 0:
                return trouble
        planned = self.plans.get(method)
        return planned.pop(0) if planned else self.always.get(method)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # somebody has gone
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Handle a request; tell whether another one may follow."""
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n", 1)[0].decode()
        self.seen.append(line)
        trouble = self.next_for(line.split(" ", 1)[0])
        length = _length(head)
        if trouble is Trouble.CUT_REQUEST:
            if length:
                await reader.read(max(1, length // 2))
            return False
        body = await reader.readexactly(length)
        if trouble is Trouble.SILENCE:
            await asyncio.Event().wait()
        if trouble is not None and trouble is not Trouble.CUT_ANSWER:
            writer.write(trouble.value)
            await writer.drain()
            return True
        answer = await self._pass_on(head, body)
        if trouble is Trouble.CUT_ANSWER:
            body_bytes = len(answer.partition(b"\r\n\r\n")[2])
            writer.write(answer[: -1 - body_bytes // 2])
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        return b"connection: close" not in answer.split(b"\r\n\r\n", 1)[0].lower()

    async def _pass_on(self, head: bytes, body: bytes) -> bytes:
        parts = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=_LONGEST_HEAD_BYTES)
        try:
            first, rest = head.split(b"\r\n", 1)
            writer.write(first + b"\r\nConnection: close\r\n" + rest + body)
            await writer.drain()
            return await reader.read(-1)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


@asynccontextmanager
async def unruly(upstream: str) -> AsyncIterator[UnrulyServer]:
    """Listen on a free port of 127.0.0.1."""
    unruly_server = UnrulyServer(upstream)
    tasks: set[asyncio.Task[None]] = set()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await unruly_server.handle(reader, writer)
        except asyncio.CancelledError:
            pass  # the end of the test
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, limit=_LONGEST_HEAD_BYTES)
    unruly_server.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield unruly_server
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
