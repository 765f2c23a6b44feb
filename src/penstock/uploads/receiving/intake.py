"""Moves the body of one request to its blob: what comes in is counted, compared with what was announced, and kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

from ..errors import TooLarge
from ..protocols.expected import Expected, Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable
    from datetime import timedelta

    from ...blobs.base import Appender
    from ...blobs.filling import SupportsFilling
    from ..locking.locks import Hold

_INLINE_BYTES: Final = 32 * 1024
"""Hashing this much takes less time than handing it to a thread."""
_LARGE_BYTES: Final = 256 * 1024
"""How much of a body is to be missing, so that memory is kept for it: a piece less to copy has to be worth that."""


class SupportsReadInto(Protocol):
    """What a body may be able to do beside being iterated over."""

    @property
    def left_bytes(self) -> int:
        """How much of it is still to come; 0 if nobody knows."""
        ...

    async def read_into(self, room: memoryview) -> int:
        """Put what comes next into `room`, as soon as something has; return how many bytes. 0: go on iterating.

        Afterwards, also after a cancellation, `room` is the caller's again. A cancellation loses none of the bytes.
        """
        ...


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
            fills = hasattr(body, "read_into") and hasattr(appender, "space")
            async for chunk in body:
                await self._take(chunk, appender, hold)
                if fills:
                    await self._fill(cast("SupportsReadInto", body), appender, hold)

    def check(self, *, complete: bool) -> None:
        """Compare what was read with what is expected; `complete`: the file is complete with it.

        Raises:
            ChecksumMismatch: it is not what was announced.
            BadHeader: the fields after the body do not say what they should.
        """
        if self._tally is not None:
            self._tally.check(complete=complete)

    async def _take(self, chunk: bytes, appender: Appender, hold: Hold) -> None:
        """Write one piece."""
        await self._look_at(chunk, appender, hold)
        await appender.write(chunk)
        self._promise(appender, hold)

    async def _fill(self, body: SupportsReadInto, appender: Appender, hold: Hold) -> None:
        """Have what comes put where it is written from, as long as much is to come and there is memory for it."""
        filling = cast("SupportsFilling", appender)
        while (left := body.left_bytes) >= _LARGE_BYTES and (space := filling.space(left)) is not None:
            count = await body.read_into(space)
            if not count:
                return
            await self._look_at(space[:count], appender, hold)
            await filling.filled(count)
            self._promise(appender, hold)

    def _promise(self, appender: Appender, hold: Hold) -> None:
        if self._tally is None:
            hold.kept_bytes, hold.written_bytes = appender.length_bytes, appender.written_bytes

    async def _look_at(self, data: bytes | memoryview, appender: Appender, hold: Hold) -> None:
        """Make sure that the next bytes may be written, and hash them."""
        hold.alive()
        end = appender.length_bytes + len(data)
        if self._limit_bytes is not None and end > self._limit_bytes:
            await appender.rollback()
            raise TooLarge(
                f"the body goes on after byte {self._limit_bytes}, where the upload was to end. Nothing of it was kept."
            )
        if self._grows is not None:
            await self._grows(end)
        if self._tally is not None:
            await _hash(self._tally.add, data)


async def _hash(add: Callable[[bytes | memoryview], None], data: bytes | memoryview) -> None:
    if len(data) <= _INLINE_BYTES:
        add(data)
    else:
        await asyncio.to_thread(add, data)
