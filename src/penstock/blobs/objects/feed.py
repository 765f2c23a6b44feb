"""What an object is written from: pieces that can be told to stop coming.

The library goes on writing when the task that waits for it is cancelled, and leaves the parts behind when it is ended
from outside. It aborts when its source fails: so that is how it is ended.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

_LAST_SECONDS: Final = 20.0
"""How long the abortion may take."""


class Stopped(Exception):
    """Nobody wants the object any more."""


class Feed:
    """Hands pieces on, until it is stopped."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        arrived: Callable[[int], None] | None = None,
        *,
        on_their_way_bytes: int = 0,
    ) -> None:
        """`arrived` is told how much is there for certain: all but the last `on_their_way_bytes` that were taken."""
        self._pieces = pieces
        self._arrived = arrived
        self._on_their_way_bytes = on_their_way_bytes
        self._taken_bytes = 0
        self._stopped = False

    def stop(self) -> None:
        """Fail from the next piece on."""
        self._stopped = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._stopped:
            raise Stopped
        if self._arrived is not None and self._taken_bytes > self._on_their_way_bytes:
            self._arrived(self._taken_bytes - self._on_their_way_bytes)
        piece = await anext(self._pieces)
        self._taken_bytes += len(piece)
        return piece


async def ended_with(feed: Feed, putting: Coroutine[Any, Any, Any]) -> None:
    """Wait until an object is written; on cancellation, until nothing is left of it.

    Raises:
        asyncio.CancelledError: we were cancelled. The object may be there, if its end had been reached.
    """
    writing = asyncio.ensure_future(putting)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        feed.stop()
        await asyncio.wait([writing], timeout=_LAST_SECONDS)
        if writing.done() and not writing.cancelled():
            writing.exception()  # it was seen: nobody else will look
        raise
