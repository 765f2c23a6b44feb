"""Moves the body of one request to its blob: what comes in is counted, compared with what was announced, and kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from .checksum import ALGORITHMS, Checksum, mismatch
from .errors import TooLarge

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
        checksum: what the body must hash to, or None.
        grows: called with the blob's length before it grows past what was known before; may refuse.
    """

    def __init__(
        self,
        *,
        limit_bytes: int | None,
        checksum: Checksum | None,
        grows: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._checksum = checksum
        self._hash = ALGORITHMS[checksum.algorithm]() if checksum else None
        self._grows = grows

    async def read(self, body: AsyncIterable[bytes], appender: Appender, hold: Hold, idle: timedelta) -> None:
        """Write the whole body; at its end, compare its checksum.

        Raises:
            TooLarge: it is longer than allowed; the appender was rolled back.
            ChecksumMismatch: it is not what was announced.
            Interrupted, Ending, Idle: as `Hold.receiving`.
        """
        async with hold.receiving(idle):
            async for chunk in body:
                hold.alive()
                await self._take(chunk, appender)
                if self._hash is None:
                    hold.kept_bytes = appender.length_bytes
        if self._hash is not None and self._checksum is not None and self._hash.digest() != self._checksum.digest:
            raise mismatch(self._checksum, self._hash.digest())

    async def _take(self, chunk: bytes, appender: Appender) -> None:
        end = appender.length_bytes + len(chunk)
        if self._limit_bytes is not None and end > self._limit_bytes:
            await appender.rollback()
            raise TooLarge(
                f"the body goes on after byte {self._limit_bytes}, where the upload was to end. Nothing of it was kept."
            )
        if self._grows is not None:
            await self._grows(end)
        if self._hash is not None:
            if len(chunk) <= _INLINE_BYTES:
                self._hash.update(chunk)
            else:
                await asyncio.to_thread(self._hash.update, chunk)
        await appender.write(chunk)
