"""Takes away what removals leave behind: a marker each, which the Go services let lie for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...clock import Clock
    from .stream import Stream

GRACE: Final = timedelta(minutes=1)
"""How long a marker lies, so that other instances hear of the removal."""
_MOST: Final = 20_000
"""Markers to take away that are remembered, some 250 bytes each. Those beyond are met again on the next walk."""
_PER_ROUND: Final = 200
"""Each costs the server some 0.1 ms, so a round costs it 1 % of a processor, and takes nothing from the uploads."""
_AT_ONCE: Final = 8


class Markers:
    """Markers that are to be taken away.

    Each is purged by itself, and only up to its own sequence number: a record that was written after it stays. (To
    purge everything before a sequence number would be one request for all. nats-server 2.9 then loses what is
    written under one of the purged subjects later.)
    """

    def __init__(self, stream: Stream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._waiting: dict[str, tuple[int, float]] = {}
        """Sequence number, and from when on it may go (monotonic seconds), by subject, the oldest first."""
        self.allowed = True
        """Whether the stream may be purged at all."""

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, subject: str, seq: int) -> None:
        """Remember a marker."""
        if not self.allowed or len(self._waiting) >= _MOST:
            return
        waiting = self._waiting.get(subject)
        if waiting is None or waiting[0] < seq:
            self._waiting.pop(subject, None)
            self._waiting[subject] = (seq, self._clock.monotonic() + GRACE.total_seconds())

    def clear(self) -> None:
        """Forget all: the stream is another one."""
        self._waiting.clear()

    async def sweep(self) -> int:
        """Take away some of those that have lain for long enough; return how many.

        Raises:
            StoreUnavailable: the server is away. Those that are left are taken away later.
        """
        swept = 0
        while swept < _PER_ROUND and (batch := self._ripe(_AT_ONCE)):
            await asyncio.gather(*(self._stream.purge(subject, before=seq + 1) for subject, seq in batch))
            for subject, seq in batch:
                if self._waiting.get(subject, (0, 0.0))[0] == seq:
                    del self._waiting[subject]
            swept += len(batch)
        return swept

    def _ripe(self, most: int) -> list[tuple[str, int]]:
        now, ripe = self._clock.monotonic(), list[tuple[str, int]]()
        for subject, (seq, at) in self._waiting.items():
            if at > now or len(ripe) == most:
                break
            ripe.append((subject, seq))
        return ripe
