"""How old something is, for who removes what is old: a wall clock that has jumped ahead makes nothing old.

A jump ahead is believed once it has lasted: until then time goes on from where it was. So a clock that is a year ahead
for an hour, because of a bad time server, ends no upload; one that was a year behind, and was put right, makes
everything wait a day longer. After a jump back nothing is older than it was.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from datetime import datetime

    from ..clock import Clock

log = structlog.get_logger(__name__)

_TOLERANCE: Final = timedelta(minutes=5)
"""What time servers put right, and what a machine may sleep, without anybody wondering."""


class SteadyTime:
    """The time, without jumps ahead."""

    def __init__(self, clock: Clock, *, believed_after: timedelta) -> None:
        """A jump is believed after it has lasted for `believed_after`."""
        self._clock = clock
        self._believed_after = believed_after.total_seconds()
        self._wall = clock.now()
        self._monotonic = clock.monotonic()
        self._ahead_since: float | None = None

    def now(self) -> datetime:
        """Return the time that ages are counted to."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        expected = self._wall + timedelta(seconds=monotonic - self._monotonic)
        if wall <= expected + _TOLERANCE:
            self._ahead_since = None
        else:
            if self._ahead_since is None:
                self._ahead_since = monotonic
                log.warning("clock_jumped_ahead", by=str(wall - expected), hint="nothing is removed for its age by it")
            if monotonic - self._ahead_since < self._believed_after:
                return expected
            self._ahead_since = None
        self._wall, self._monotonic = wall, monotonic
        return wall
