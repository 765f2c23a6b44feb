"""Connections to an ICAP server that are kept for the next file: one that leads nowhere any more is to cost little.

A machine that vanished, or a gateway that has forgotten a connection, tells nobody: what is sent goes nowhere, and no
answer ever comes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ..base import ScannerProtocolError, ScannerUnavailable
from .answers import AnswerReader
from .protocol import options_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ...clock import Clock
    from .address import Address
    from .connection import Connection
    from .exchange import Exchange, Heard

_IDLE_SECONDS: Final = 15.0
"""How long a connection is kept for the next file. Servers close idle ones after half a minute or more."""
_FRESH_SECONDS: Final = 1.0
"""A connection that was used so recently is used as it is; on an older one the server is asked whether it is there."""
_CHECK_SECONDS: Final = 2.0
"""How long that answer may take before a new connection is made."""
_FIRST_SIGN_SECONDS: Final = 10.0
"""How long the first sign of an answer may take on a connection that was kept before it is done again on a new one."""


class KeptConnections:
    """The connections to one server that nobody uses just now."""

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._idle: list[Connection] = []

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next file."""
        connection.used = True
        connection.idle_since = self._clock.monotonic()
        self._idle.append(connection)

    def forget(self) -> None:
        """Close all of them."""
        while self._idle:
            self._idle.pop().close()

    async def take(self) -> Connection | None:
        """Return a connection that was kept and still leads somewhere; None: there is none."""
        while self._idle:
            connection = self._idle.pop()
            idle_seconds = self._clock.monotonic() - connection.idle_since
            if connection.is_quiet and idle_seconds < _IDLE_SECONDS:
                if idle_seconds < _FRESH_SECONDS or await self._answers(connection):
                    return connection
                self.forget()  # what has lost one has lost the others
            connection.close()
        return None

    async def _answers(self, connection: Connection) -> bool:
        """Tell whether the other side still answers on a connection: the question costs it next to nothing."""
        reader = AnswerReader()
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await connection.send(options_request(self._address))
                while (answer := reader.feed(await some_of(connection, "a sign of life"))) is None:
                    pass
        except (TimeoutError, ScannerUnavailable, ScannerProtocolError):
            connection.close()
            return False
        except BaseException:
            connection.close()
            raise
        as_before = connection.is_quiet and not reader.rest and not answer.has_body and not answer.is_last
        return as_before and answer.icap.status == 200


async def with_sign_of_life(
    connection: Connection, exchange: Exchange, first: bytes, rest: AsyncIterator[bytes]
) -> Heard:
    """Put the file before the service; on a connection that was kept, wait only a while for a sign of an answer.

    Raises:
        ScannerUnavailable: there was none, and it can be done again: nothing has come that would be missed.
    """
    if not connection.used:
        return await exchange.run(first, rest)
    running = asyncio.ensure_future(exchange.run(first, rest))
    try:
        await asyncio.wait({running}, timeout=_FIRST_SIGN_SECONDS)
        if not running.done() and exchange.repeatable:
            raise ScannerUnavailable("nothing comes on the connection to the ICAP server that was kept")
        return await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def some_of(connection: Connection, what: str) -> bytes:
    """Return what comes next.

    Raises:
        ScannerUnavailable: nothing, for the connection has ended.
    """
    data = await connection.receive()
    if not data:
        raise ScannerUnavailable(f"the connection was closed while waiting for {what}")
    return data
