"""The body of a request while it is sent: aiohttp takes it from here, and listens for the answer meanwhile.

A worker may refuse a file long before it has all of it, and end the connection: its answer is heard all the same.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.abc import AbstractStreamWriter


class Outgoing(aiohttp.Payload):
    """Some bytes on their way. Close it, whatever becomes of the request."""

    _autoclose = True  # aiohttp need not see to it: `ended` does

    def __init__(self, pieces: AsyncGenerator[bytes, None], size_bytes: int, stall_seconds: float) -> None:
        """`size_bytes` is how much there will be of `pieces`; `stall_seconds` is how long one of them may take."""
        super().__init__(pieces)
        self.failure: Exception | None = None
        """Why there were no more pieces, if it was not the line that failed."""
        self._pieces = pieces
        self._left_bytes = size_bytes
        self._stall_seconds = stall_seconds
        self._begun = False
        self._transport: asyncio.WriteTransport | None = None
        self._over = asyncio.Event()

    @property
    def is_whole(self) -> bool:
        """Whether all of it was given to the line."""
        return self._left_bytes == 0

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all of it; for aiohttp, in a task of its own.

        Raises:
            TimeoutError: nobody took it.
        """
        self._begun, self._transport, at_the_line = True, writer.transport, False
        try:
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    at_the_line = True
                    self._left_bytes -= len(piece)
                    async with asyncio.timeout(self._stall_seconds):
                        await writer.write(piece)
                    at_the_line = False
        except Exception as error:
            self.failure = None if at_the_line else error
            raise
        finally:
            self._over.set()

    async def ended(self, *, taken: bool) -> None:
        """Wait until nobody reads the pieces any more. To be called when the request is over.

        Unless all was `taken`, the line is cut: otherwise it would stay, with what is left to send, for as long as the
        worker keeps it and reads nothing.
        """
        if not self._begun:
            await self._pieces.aclose()
            return
        if self._transport is not None and not (taken and self.is_whole):
            self._transport.abort()
        await self._over.wait()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return what nobody asks a stream for.

        Raises:
            TypeError: always.
        """
        raise TypeError("these bytes can be sent, and not looked at")
