"""How long to go on trying, and how long to pause in between."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ...durations import format_duration
from ...errors import Unavailable

if TYPE_CHECKING:
    from ...clock import Clock

_FIRST_SECONDS: Final = 0.2
_LONGEST_SECONDS: Final = 10.0
_SHORTEST_SECONDS: Final = 0.001
_LONGEST_ASKED_SECONDS: Final = 60.0
"""A server may ask for a longer pause than we would make, but not for any."""


class GaveUp(Unavailable):
    """Nothing moved for longer than we were told to wait. The same command, run again, goes on."""

    code = "gave-up"


class Patience:
    """Counts the time without progress.

    Pauses double, up to 10 s, with some chance in them, so that the many clients of a server that comes back do not all
    knock at once.
    """

    def __init__(self, limit: timedelta, *, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._since = clock.monotonic()
        self._pause_seconds = _FIRST_SECONDS

    def progress(self) -> None:
        """Something moved: begin to count anew."""
        self._since = self._clock.monotonic()
        self._pause_seconds = _FIRST_SECONDS

    async def pause(self, what: str, reason: str, *, asked_seconds: float = 0.0) -> None:
        """Wait before the next attempt.

        Args:
            what: What does not work, for the error.
            reason: Why it does not, in a few words.
            asked_seconds: How long the server asked us to wait at least.

        Raises:
            GaveUp: it has not worked for too long.
        """
        left = self._limit.total_seconds() - (self._clock.monotonic() - self._since)
        if left < _SHORTEST_SECONDS:
            raise GaveUp(
                f"{what}: no progress for {format_duration(self._limit)}: {reason}. "
                "Run the same command again to go on."
            )
        own = self._pause_seconds * random.uniform(0.5, 1.0)  # noqa: S311  nobody gains by guessing it
        self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_SECONDS)
        asked = min(asked_seconds, _LONGEST_ASKED_SECONDS)
        await self._clock.sleep(timedelta(seconds=min(max(own, asked), left)))
