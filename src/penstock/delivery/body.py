"""What comes of a file by HTTP: no longer waited for than is reasonable, and cut to the part that was wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp

from .addresses import server_of
from .base import BytesUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from ..events.types import StartPostprocessingStep

_WAIT_SECONDS: Final = 60.0
_SLOWEST_BYTES_PER_SECOND: Final = 256 * 1024
"""A server that is slower than this, after the first minute of waiting for it, is given up: it may trickle for ever."""
_LOOK_SECONDS: Final = 0.2
_BROKEN_OFF: Final = "it has ended the connection, or what it sends is not HTTP any more"


class Patience:
    """How long a transfer may still be waited for, however often it is taken up again."""

    def __init__(self, size_bytes: int, stall_seconds: float) -> None:
        self.left_seconds = _WAIT_SECONDS + size_bytes / _SLOWEST_BYTES_PER_SECOND
        self.stall_seconds = stall_seconds


async def in_time(answer: aiohttp.ClientResponse, patience: Patience) -> AsyncGenerator[bytes, None]:
    """Yield the body; give up when the time spent on waiting for it, and for nothing else, is out of proportion.

    Raises:
        TimeoutError: it was given up.
        aiohttp.ClientConnectionError, aiohttp.ClientPayloadError: it broke off.
    """
    while piece := await _more(answer, patience):
        yield piece


async def _more(answer: aiohttp.ClientResponse, patience: Patience) -> bytes:
    """Return what comes next of a body; nothing at its end.

    When a body stops making sense (its chunks), aiohttp ends the connection, and does not tell who waits for more of it
    already. So we look now and then; and once more, for what may have come in between.
    """
    loop, over = asyncio.get_running_loop(), False
    asked_at, limit = loop.time(), min(patience.left_seconds, patience.stall_seconds)
    try:
        while True:
            left = limit - (loop.time() - asked_at)
            try:
                async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                    return await answer.content.readany()
            except TimeoutError:
                if over:
                    raise aiohttp.ClientConnectionError(_BROKEN_OFF) from None
                if left <= _LOOK_SECONDS:
                    slow = limit < patience.stall_seconds
                    raise TimeoutError("it is too slow" if slow else f"nothing came for {limit:g} seconds") from None
                over = answer.connection is None or answer.connection.closed
    except RuntimeError as error:  # aiohttp's word for a connection that has ended while nobody waited
        raise aiohttp.ClientConnectionError(_BROKEN_OFF) from error
    finally:
        patience.left_seconds -= loop.time() - asked_at


async def cut(
    body: AsyncIterator[bytes], wanted: StartPostprocessingStep, position: int, start: int, end: int
) -> AsyncGenerator[bytes, None]:
    """Yield what lies between `start` and `end` of a body that begins at `position` of the file.

    Raises:
        BytesUnavailable: it has less than that, or the file has more than was announced.
    """
    async for piece in body:
        kept = piece[max(0, start - position) : max(0, end - position)]
        position += len(piece)
        if kept:
            yield kept
        if position > wanted.filesize:
            break
        if position >= end and end < wanted.filesize:
            return  # more would be of no use
    if position > wanted.filesize or position < end:
        raise BytesUnavailable(
            f"{server_of(wanted.url)} delivered {'more than ' if position > wanted.filesize else ''}"
            f"{min(position, wanted.filesize)} bytes, but the upload has {wanted.filesize}"
        )
