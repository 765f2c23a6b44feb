"""One connection to an ICAP server: what comes is kept at once, whatever is being sent, so that no answer is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from ..base import ScannerUnavailable, ScannerUnreachable

if TYPE_CHECKING:
    import ssl

    from .address import Address

_CONNECT_SECONDS: Final = 10.0
_MOST_UNREAD_BYTES: Final = 1024 * 1024
_STEP_BYTES: Final = 256 * 1024
"""How much is handed to the system at a time; between two steps we see whether there is an answer."""


class Connection(asyncio.Protocol):
    """Sends, and takes what comes. `connect` makes one."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._unread = bytearray()
        self._ended = False
        self._failure = ""
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._paused = False
        self.used = False
        """Whether a request has been answered on it before."""
        self.idle_since = 0.0

    async def send(self, data: bytes) -> None:
        """Send all of `data`; it has left this process when this returns.

        Raises:
            ScannerUnavailable: the connection broke. What came before can still be received.
        """
        rest = memoryview(data)
        while rest:
            self._check_open()
            self._transport.write(bytes(rest[:_STEP_BYTES]))
            rest = rest[_STEP_BYTES:]
            await self._room.wait()
        if self._failure:
            raise self._broken()

    async def receive(self) -> bytes:
        """Return what has come, at least 1 byte; b"" once the other side has ended the connection.

        Raises:
            ScannerUnavailable: the connection broke.
        """
        while not self._unread and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if self._unread:
            data = bytes(self._unread)
            self._unread.clear()
            if self._paused and not self._ended:
                self._paused = False
                self._transport.resume_reading()
            return data
        if self._failure:
            raise self._broken()
        return b""

    @property
    def is_quiet(self) -> bool:
        """Whether it is open, and nothing has come that nobody has asked for."""
        return not (self._ended or self._unread)

    @property
    def was_reset(self) -> bool:
        """Whether the other side threw it away, with bytes of ours unread."""
        return bool(self._failure)

    async def until_ended(self, seconds: float) -> None:
        """Wait for the other side to end the connection, or for the time to be over."""
        try:
            async with asyncio.timeout(seconds):
                while not self._ended:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """End it, without waiting for anything."""
        self._transport.abort()

    def _check_open(self) -> None:
        if self._ended:
            raise self._broken()

    def _broken(self) -> ScannerUnavailable:
        why = self._failure or "it was closed"
        return ScannerUnavailable(f"the connection to the ICAP server {self._address} broke: {why}")

    # --- what asyncio calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        # So that "sent" means handed to the system. (With high=0 asyncio's TLS would wait for less than nothing.)
        self._transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        """Keep what comes."""
        self._unread += data
        self._changed.set()
        if len(self._unread) > _MOST_UNREAD_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Take note that nothing more comes; the connection is of no more use."""
        self._ended = True
        self._changed.set()
        self._room.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end."""
        if exc is not None:
            self._failure = str(exc) or type(exc).__name__
        self._ended = True
        self._changed.set()
        self._room.set()

    def pause_writing(self) -> None:
        """The system takes nothing more for now."""
        self._room.clear()

    def resume_writing(self) -> None:
        """The system has taken everything."""
        self._room.set()


async def connect(address: Address, tls: ssl.SSLContext | None) -> Connection:
    """Open a connection.

    Raises:
        ScannerUnreachable: nobody listens there, or does not answer, or cannot prove who it is.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, connection = await loop.create_connection(
                lambda: Connection(address),
                address.host,
                address.port,
                ssl=tls,
                server_hostname=address.host if tls else None,
            )
    except TimeoutError as err:
        raise ScannerUnreachable(f"the ICAP server {address} did not accept a connection in time") from err
    except (OSError, UnicodeError) as err:  # an SSLError is an OSError; a UnicodeError is a name that cannot be one
        raise ScannerUnreachable(f"no connection to the ICAP server {address}: {err}") from err
    return connection
