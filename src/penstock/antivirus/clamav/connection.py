"""One connection to clamd: the socket code around `protocol`, for one command."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base import ScannerUnreachable
from .address import Address, UnixAddress
from .protocol import LONGEST_REPLY_BYTES, ClamdBrokeOff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CONNECT_SECONDS = 10.0
"""clamd accepts at once even when all its threads are busy."""
_QUEUE_FULL_SECONDS = 0.05
"""Between two looks whether clamd has taken somebody from its queue (MaxConnectionQueueLength)."""
_CREDENTIALS = struct.Struct("3i")
"""What the kernel tells of the other side of a unix socket: process, user, group."""
_CLOSE_SECONDS = 5.0
"""How long after its answer the other side may take to close the connection, and after a broken pipe to say why."""


class Received(NamedTuple):
    """What came back."""

    raw: bytes
    closed_cleanly: bool
    """Whether the other side closed the connection, having read all that we sent."""
    seconds: float = 0.0
    """How long it took for that, from before the last of what we sent: it may not have had everything sooner."""


class Connection:
    """Sends one command with what belongs to it, and reads until the other side closes."""

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self._sock = sock
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._last_sent_at = self._loop.time()

    @property
    def process_id(self) -> int:
        """The process that listens at a unix socket; 0 for a port, or when the kernel does not tell."""
        if self._sock.family != socket.AF_UNIX:
            return 0
        told = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(told)[0])

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`.

        Raises:
            ClamdBrokeOff: the connection broke. The other side may have said why: `receive` still works.
        """
        self._last_sent_at = self._loop.time()
        try:
            await self._loop.sock_sendall(self._sock, data)
        except OSError as err:
            raise ClamdBrokeOff(f"clamd at {self._address} broke off the connection: {err.strerror}") from err

    async def send_both(self, head: bytes, body: bytes) -> None:
        """Send `head` and then `body`, of which no copy is made.

        Raises:
            ClamdBrokeOff: as for `send`.
        """
        self._last_sent_at = self._loop.time()
        try:
            sent = self._sock.sendmsg([head, body])
        except OSError:  # there is no room right now; or it is broken, which `send` finds as well
            sent = 0
        if sent < len(head):
            await self.send(head[sent:])
        if rest := memoryview(body)[max(0, sent - len(head)) :]:
            await self.send(rest)

    async def send_descriptor(self, fd: int) -> None:
        """Send one byte with a copy of an open file descriptor; over a unix socket only.

        Raises:
            ClamdBrokeOff: the connection broke.
        """
        self._last_sent_at = self._loop.time()
        try:
            socket.send_fds(self._sock, [b"\0"], [fd])
        except OSError as err:
            raise ClamdBrokeOff(f"clamd at {self._address} takes no file descriptor: {err.strerror}") from err

    async def receive(self) -> Received:
        """Read until the connection ends, or a complete answer was not followed by its end.

        May run while `send` does.
        """
        raw = b""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                while len(raw) <= LONGEST_REPLY_BYTES:
                    more = await self._loop.sock_recv(self._sock, 4096)
                    if not more:
                        return self._received(raw, closed_cleanly=True)
                    if b"\0" in more:
                        limit.reschedule(self._loop.time() + _CLOSE_SECONDS)
                    raw += more
        except OSError:
            # A reset, or the end of our patience. What came before it is kept: it may be clamd's reason.
            return self._received(raw, closed_cleanly=False)
        return self._received(raw, closed_cleanly=False)

    def _received(self, raw: bytes, *, closed_cleanly: bool) -> Received:
        return Received(raw, closed_cleanly, self._loop.time() - self._last_sent_at)


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Connection]:
    """Open a connection, and close it at the end.

    Raises:
        ScannerUnreachable: nobody listens there, or does not answer.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            sock = await _connect(address)
    except TimeoutError as err:
        raise ScannerUnreachable(f"clamd at {address} did not accept a connection in {_CONNECT_SECONDS:g} s") from err
    except (OSError, UnicodeError) as err:  # a UnicodeError is a host name that cannot be one
        raise ScannerUnreachable(f"no connection to clamd at {address}: {err}") from err
    try:
        yield Connection(sock, address)
    finally:
        sock.close()


async def _connect(address: Address) -> socket.socket:
    if isinstance(address, UnixAddress):
        return await _connect_one(socket.AF_UNIX, address.path)
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for family, _, _, _, target in await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
        try:
            return await _connect_one(family, target)
        except OSError as err:
            failure = err
    raise failure or OSError("the name has no address")


async def _connect_one(family: int, target: str | tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            # A machine that vanished is noticed even while we only wait for its answer.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if family == socket.AF_UNIX:
            await _connect_unix(sock, target)
        else:
            await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect_unix(sock: socket.socket, path: str | tuple[Any, ...]) -> None:
    """Connect to a unix socket. While its queue is full, nothing is under way, as asyncio would believe: try again."""
    while True:
        try:
            sock.connect(path)
        except BlockingIOError:
            await asyncio.sleep(_QUEUE_FULL_SECONDS)
        else:
            return
