"""Rests of who has a lot to do: a walk over many things leaves the event loop, and the threads, to nobody otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .clock import Clock

_STRETCH: Final = 128
_LONGEST_REST: Final = timedelta(milliseconds=50)


class Rests:
    """The rests of one walk, each in proportion to how long it has walked since the last one."""

    def __init__(self, clock: Clock, *, stretch: int = _STRETCH, share: float = 0.5) -> None:
        """Begin to walk.

        Args:
            clock: measures.
            stretch: how many things are done between two rests.
            share: how long a rest is beside the walk before it; at most 50 ms.
        """
        self._clock = clock
        self._stretch = stretch
        self._share = share
        self._done = 0
        self._since = clock.monotonic()

    async def after(self, number: int = 1) -> None:
        """Rest now and then; to be called after that many things are done."""
        self._done += number
        if self._done < self._stretch:
            return
        self._done = 0
        walked = timedelta(seconds=self._clock.monotonic() - self._since)
        await self._clock.sleep(min(walked * self._share, _LONGEST_REST))
        self._since = self._clock.monotonic()
