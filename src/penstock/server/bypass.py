"""The rest of a large body, which goes around the parser: its bytes only have to be counted.

A parser copies each piece of a body once more. And whoever reads a body may have what comes next put straight into
memory of its own (`open`), instead of being given it in pieces that are made, and copied, for each read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .connection import Connection
    from .exchange import Exchange

LARGE_BYTES: Final = 64 * 1024
"""How much of a body has to be missing: a new parser, which the next request gets, costs as much as copying this."""


def left_bytes(framing: Sequence[tuple[bytes, bytes]], come_bytes: int) -> int:
    """Return how much of a body is missing; 0: only a parser can tell.

    Args:
        framing: the headers that say where it ends, as the parser has accepted them.
        come_bytes: how much has come.
    """
    if len(framing) != 1 or framing[0][0] != b"content-length":
        return 0
    return int(framing[0][1]) - come_bytes


class Bypass(asyncio.BufferedProtocol):
    """Counts the rest of one body.

    It is the protocol of the transport only while somebody waits for one read into its memory; else the connection is.
    """

    def __init__(self, connection: Connection, exchange: Exchange, left_bytes: int) -> None:
        self._connection = connection
        self._exchange = exchange
        self._left_bytes = left_bytes
        self._room: memoryview | None = None
        self._read_bytes = 0

    def take(self, data: bytes) -> bytes:
        """Hand on what data has of the body; return the rest."""
        body, rest = data[: self._left_bytes], data[self._left_bytes :]
        self._connection.on_body(body)
        self._count(len(body))
        return rest

    def open(self, room: memoryview) -> None:
        """Have what comes next put into `room`, once; the exchange is woken when that is done."""
        self._read_bytes = 0
        self._room = room[: self._left_bytes]
        self._hand_over(self)
        self._connection.flow.resume_reading()

    def close(self) -> int:
        """Have nothing put into it any more; return how many bytes were."""
        if self._room is not None:
            self._room = None
            self._hand_over(self._connection)
            self._connection.flow.resume_reading()
        return self._read_bytes

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next read is to go."""
        del sizehint
        if self._room is None:
            raise RuntimeError("nobody reads")
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of what has come. There is no further read before somebody wants it."""
        self._room, self._read_bytes = None, nbytes
        self._hand_over(self._connection)
        self._count(nbytes)
        if self._left_bytes:
            self._exchange.wake()
        else:
            self._connection.flow.resume_reading()

    def eof_received(self) -> bool:
        """Leave that to the connection, which reads no more."""
        self._give_back()
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave that to the connection."""
        self._give_back()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Have whoever answers wait."""
        self._connection.flow.pause_writing()

    def resume_writing(self) -> None:
        """Have it go on."""
        self._connection.flow.resume_writing()

    def _count(self, more_bytes: int) -> None:
        self._left_bytes -= more_bytes
        if not self._left_bytes:
            self._connection.on_body_passed()

    def _hand_over(self, protocol: asyncio.BaseProtocol) -> None:
        """Have somebody else read from the transport, which may only be done while it does not read."""
        self._connection.flow.pause_reading()
        self._connection.transport.set_protocol(protocol)

    def _give_back(self) -> None:
        self._room = None
        self._connection.transport.set_protocol(self._connection)
