"""A body of which its client is told now and then how much is kept, while it still sends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .asgi import Body

TELLING_SECONDS: Final = 1.0
"""How often."""


class Telling:
    """Reads a body; whoever is given a part of it has kept it when it comes for the next one.

    Args:
        body: the request's.
        tell: tells the client.
    """

    def __init__(self, body: Body, tell: Callable[[], None]) -> None:
        self._body = body
        self._tell = tell
        self._told_at = asyncio.get_running_loop().time()

    @property
    def left_bytes(self) -> int:
        """How much is still to come (`Body.left_bytes`)."""
        return self._body.left_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives (`Body.__aiter__`)."""
        async for chunk in self._body:
            yield chunk
            self._tell_in_time()

    async def read_into(self, room: memoryview) -> int:
        """Put what comes next into `room` (`Body.read_into`)."""
        self._tell_in_time()
        return await self._body.read_into(room)

    def _tell_in_time(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= TELLING_SECONDS:
            self._told_at = now
            self._tell()
