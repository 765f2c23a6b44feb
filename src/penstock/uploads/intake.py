"""Moves the body of one request to its blob: what comes in is counted, compared with what was announced, and kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from .errors import TooLarge
from .expected import Expected, Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable
    from datetime import timedelta

    from ..blobs.base import Appender
    from .locks import Hold

_INLINE_BYTES: Final = 32 * 1024
"""Hashing this much takes less time than handing it to a thread."""


class Intake:
    """Reads one body.

    Args:
        limit_bytes: where the blob may end at most; None: nowhere.
        expected: what the body, and the file with it, must hash to; None: nothing is.
        from_start: whether the body is the first one of its file.
        grows: called with the blob's length before it grows past what was known before; may refuse.
    """

    def __init__(
        self,
        *,
        limit_bytes: int | None,
        expected: Expected | None,
        from_start: bool = True,
        grows: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._tally = None if expected is None else Tally(expected, from_start=from_start)
        self._grows = grows

    @property
    def wants_earlier(self) -> bool:
        """Whether the bytes before the body have to be read as well."""
        return self._tally is not None and self._tally.wants_earlier

    async def read(
        self,
        body: AsyncIterable[bytes],
        appender: Appender,
        hold: Hold,
        idle: timedelta,
        *,
        earlier: AsyncIterable[bytes] | None = None,
    ) -> None:
        """Write the whole body; `earlier` are the bytes before it, where they are wanted.

        Raises:
            TooLarge: it is longer than allowed; the appender was rolled back.
            Interrupted, Ending, Idle: as `Hold.receiving`.
        """
        async with hold.receiving(idle):
            if earlier is not None and self._tally is not None:
                async for piece in earlier:
                    hold.alive()
                    await _hash(self._tally.add_earlier, piece)
            async for chunk in body:
                hold.alive()
                await self._take(chunk, appender)
                if self._tally is None:
                    hold.kept_bytes, hold.written_bytes = appender.length_bytes, appender.written_bytes

    def check(self, *, complete: bool) -> None:
        """Compare what was read with what is expected; `complete`: the file is complete with it.

        Raises:
            ChecksumMismatch: it is not what was announced.
            BadHeader: the fields after the body do not say what they should.
        """
        if self._tally is not None:
            self._tally.check(complete=complete)

    async def _take(self, chunk: bytes, appender: Appender) -> None:
        end = appender.length_bytes + len(chunk)
        if self._limit_bytes is not None and end > self._limit_bytes:
            await appender.rollback()
            raise TooLarge(
                f"the body goes on after byte {self._limit_bytes}, where the upload was to end. Nothing of it was kept."
            )
        if self._grows is not None:
            await self._grows(end)
        if self._tally is not None:
            await _hash(self._tally.add, chunk)
        await appender.write(chunk)


async def _hash(add: Callable[[bytes], None], data: bytes) -> None:
    if len(data) <= _INLINE_BYTES:
        add(data)
    else:
        await asyncio.to_thread(add, data)
