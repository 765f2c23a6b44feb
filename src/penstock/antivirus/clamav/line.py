"""What is said to a clamd and what it answers, in one connection for each question."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from ..base import ScanTimeout, SourceUnreadable
from ..deadline import give_up_after
from .connection import Connection, Received, connected
from .protocol import (
    END_OF_STREAM,
    FILDES,
    INSTREAM,
    VERSION,
    Answer,
    ClamdBrokeOff,
    ScanReply,
    chunk_header,
    conclude,
    parse_version_reply,
    scan_command,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ..base import ScannerVersion
    from ..limits import TimeAllowance
    from ..sources import OpenFile
    from .address import Address

_SHORT_ANSWER = timedelta(seconds=30)
"""For commands that look at no file. They may have to wait for one of clamd's threads."""
_REASON_SECONDS = 5.0
"""How long we wait, when clamd has broken off, for it to have said why."""


class Line:
    """Puts questions to the clamd at one address.

    All methods raise, beside what they say:
        ScannerUnavailable: no connection, or it broke (`ClamdBrokeOff`).
        ScannerProtocolError: the answer is not one to this question, or came too early.
        ScanTimeout: there was none in the time allowed.
    """

    def __init__(
        self,
        address: Address,
        allowance: TimeAllowance,
        on_another: Callable[[], None] | None = None,
        max_scan_time: timedelta | None = None,
    ) -> None:
        """Put questions to who listens at `address`.

        Args:
            address: Where it listens.
            allowance: How long it may take for a file, where nothing else is said.
            on_another: Called when another process listens there than before; over a unix socket that is known.
            max_scan_time: After which time it stops looking, and calls the file clean; None: never.
        """
        self._max_scan_time = max_scan_time
        self._address = address
        self._allowance = allowance
        self._on_another = on_another
        self._process_id: int | None = None

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        async with connected(self._address) as connection:
            before, self._process_id = self._process_id, connection.process_id
            if before not in {None, self._process_id} and self._on_another is not None:
                self._on_another()
            yield connection

    async def version(self) -> ScannerVersion:
        """Ask for the versions of engine and signatures."""
        async with (
            give_up_after(_SHORT_ANSWER, f"clamd at {self._address} to tell its version"),
            self._connected() as connection,
        ):
            await connection.send(VERSION)
            received = await connection.receive()
        if not received.raw:
            raise ClamdBrokeOff(f"clamd at {self._address} closed the connection without telling its version")
        return parse_version_reply(received.raw)

    async def pass_descriptor(self, file: OpenFile, timeout: timedelta | None = None) -> ScanReply:
        """Have it look at an open file; over a unix socket only. `timeout` is in place of the allowance."""
        async with self._connected() as connection:
            await connection.send(FILDES)
            all_sent = True
            try:
                await connection.send_descriptor(file.fd)
            except ClamdBrokeOff:
                all_sent = False  # it may have said before why it takes none
            received = await self._in_time(connection.receive(), file.size_bytes, timeout)
            return self._concluded(received, FILDES, all_sent=all_sent)

    async def pass_path(self, path: Path, size_bytes: int, timeout: timedelta | None = None) -> ScanReply:
        """Have it open a file and look at it. `timeout` is in place of the allowance."""
        async with self._connected() as connection:
            await connection.send(command := scan_command(path))
            return self._concluded(await self._in_time(connection.receive(), size_bytes, timeout), command)

    async def stream(
        self, pieces: AsyncIterator[bytes], size_bytes: int, timeout: timedelta | None = None
    ) -> ScanReply:
        """Send it bytes to look at. `timeout` is in place of the allowance, from when it has all of them.

        Raises:
            SourceUnreadable: they came more slowly than clamd waits. So does what `pieces` raises.
        """
        async with self._connected() as connection:
            receiving = asyncio.create_task(connection.receive())
            sending = asyncio.create_task(self._send(connection, pieces))
            try:
                await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
                all_sent = sending.done() and await _ended_well(sending)
                received = await self._answer(receiving, size_bytes, timeout, all_sent=all_sent)
            finally:
                sending.cancel()
                receiving.cancel()
                await asyncio.gather(sending, receiving, return_exceptions=True)
        reply = self._concluded(received, INSTREAM, all_sent=all_sent)
        if reply.stalled and not all_sent:
            raise SourceUnreadable(f"the bytes came too slowly for clamd at {self._address} (its CommandReadTimeout)")
        return reply

    def _concluded(self, received: Received, command: bytes, *, all_sent: bool = True) -> ScanReply:
        reply = conclude(received.raw, command, all_sent=all_sent, closed_cleanly=received.closed_cleanly)
        limit = self._max_scan_time
        if reply.answer is Answer.CLEAN and limit is not None and received.seconds >= limit.total_seconds():
            raise ScanTimeout(
                f"clamd at {self._address} took {received.seconds:.1f} s, and after {limit.total_seconds():g} s (its "
                "MaxScanTime) it calls a file clean without having seen all of it"
            )
        return reply

    async def _send(self, connection: Connection, pieces: AsyncIterator[bytes]) -> None:
        await connection.send(INSTREAM)
        async for piece in pieces:
            async with give_up_after(self._allowance.base, f"clamd at {self._address} to take more bytes"):
                await connection.send_both(chunk_header(len(piece)), piece)
        await connection.send(END_OF_STREAM)

    async def _answer(
        self, receiving: asyncio.Task[Received], size_bytes: int, timeout: timedelta | None, *, all_sent: bool
    ) -> Received:
        if all_sent:
            # clamd begins to look at a stream when it has all of it, so its time begins now.
            return await self._in_time(receiving, size_bytes, timeout)
        await asyncio.wait({receiving}, timeout=_REASON_SECONDS)
        return receiving.result() if receiving.done() else Received(b"", closed_cleanly=False)

    async def _in_time(self, receiving: Awaitable[Received], size_bytes: int, timeout: timedelta | None) -> Received:
        allowed = self._allowance.for_size(size_bytes) if timeout is None else timeout
        async with give_up_after(allowed, f"clamd at {self._address} to answer about {size_bytes} bytes"):
            return await receiving


async def _ended_well(sending: asyncio.Task[None]) -> bool:
    try:
        await sending
    except ClamdBrokeOff:
        return False  # clamd broke off in the middle; what it says is more telling than how the socket failed
    return True
