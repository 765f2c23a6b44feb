"""How old something is, for who removes what is old: a wall clock that has jumped makes nothing old.

A jump ahead is believed once it has lasted: until then time goes on from where it was. So a clock that is a year ahead
for an hour, because of a bad time server, ends no upload; one that was a year behind, and was put right, makes
everything wait a day longer. After a jump back nothing is older than it was, and the way back to where time was is no
jump.

What is believed outlives the process (`remembered`): a machine that starts with a wrong clock is no different from one
whose clock jumps. That it was off for a while is not known to it either, so that time counts once it has been on again
for as long; several such times are waited for together, each from its own beginning.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ..clock import Clock

log = structlog.get_logger(__name__)

_TOLERANCE: Final = timedelta(minutes=5)
"""What time servers put right, and what a machine may sleep, without anybody wondering."""
_JUMPS: Final = 32
"""How many are waited for one by one; of more, the last two count as one: the later one."""


class Jump(NamedTuple):
    """How far the clock was seen ahead of what is believed (less than 0: behind), and for how long at least."""

    ahead: timedelta
    lasted: timedelta


class Believed(NamedTuple):
    """What outlives a process."""

    at: datetime
    """The time that was believed."""
    jumps: tuple[Jump, ...] = ()
    """Those that were not yet; the larger ones later. Where the clock was behind, that alone."""


class SteadyTime:
    """The time, without jumps."""

    def __init__(self, clock: Clock, *, believed_after: timedelta) -> None:
        """A jump is believed after it has lasted for `believed_after`."""
        self.believed_after = believed_after
        self._clock = clock
        self._base = clock.now()
        self._base_at = clock.monotonic()
        self._jumps: list[tuple[timedelta, float]] = []
        """How far ahead of the base, and since when."""
        self._behind_since: float | None = None
        self._may_have_been_off = False

    def now(self) -> datetime:
        """Return the time that ages are counted to; it may go back when the clock does."""
        wall, expected = self._look()
        return min(wall, expected)

    def noticed(self) -> datetime:
        """Return when something is noticed now, for what `now` says later."""
        return self._look()[1]

    def latest(self) -> datetime:
        """Return what the time that somebody is given begins at: a clock that is behind gives nobody less."""
        wall, expected = self._look()
        return max(wall, expected)

    @property
    def doubted(self) -> timedelta:
        """How far the clock is ahead of what is believed; 0: not worth a word."""
        wall, expected = self._look()
        return wall - expected if wall - expected > _TOLERANCE else timedelta()

    def believed(self) -> Believed:
        """Return what is to be remembered."""
        wall, expected = self._look()
        monotonic = self._clock.monotonic()
        jumps = self._jumps if self._behind_since is None else [(wall - expected, self._behind_since)]
        return Believed(expected, tuple(Jump(ahead, timedelta(seconds=monotonic - since)) for ahead, since in jumps))

    def restore(self, believed: Believed) -> None:
        """Go on from what was remembered."""
        monotonic = self._clock.monotonic()
        self._base, self._base_at = believed.at, monotonic
        jumps = [(jump.ahead, monotonic - jump.lasted.total_seconds()) for jump in believed.jumps]
        self._jumps = [(ahead, since) for ahead, since in jumps if ahead > timedelta()]
        self._behind_since = next((since for ahead, since in jumps if ahead < timedelta()), None)
        self._may_have_been_off = True

    def _look(self) -> tuple[datetime, datetime]:
        """Return what the clock says, and what is believed."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        self._base += timedelta(seconds=monotonic - self._base_at)
        self._base_at = monotonic
        ahead = wall - self._base
        if abs(ahead) <= _TOLERANCE:
            self._base, self._jumps, self._behind_since = wall, [], None
        elif ahead < timedelta():
            self._see_behind(wall, monotonic)
        else:
            self._see_ahead(ahead, monotonic)
        self._may_have_been_off = False
        return wall, self._base

    def _see_behind(self, wall: datetime, monotonic: float) -> None:
        self._jumps = []
        if self._behind_since is None:
            self._behind_since = monotonic
            log.warning("clock_is_behind", by=str(self._base - wall), hint="nothing is older than it was")
        if monotonic - self._behind_since >= self.believed_after.total_seconds():
            self._base, self._behind_since = wall, None

    def _see_ahead(self, ahead: timedelta, monotonic: float) -> None:
        self._behind_since = None
        self._jumps = [jump for jump in self._jumps if jump[0] <= ahead + _TOLERANCE]
        known = self._jumps[-1][0] if self._jumps else timedelta()
        if ahead > known + _TOLERANCE:
            self._say(ahead - known)
            self._jumps = [*_fewer(self._jumps), (ahead, monotonic)]
        lasted = [jump for jump, since in self._jumps if monotonic - since >= self.believed_after.total_seconds()]
        if lasted:
            step = min(lasted[-1], ahead)
            self._base += step
            self._jumps = [(jump - step, since) for jump, since in self._jumps if jump > step]

    def _say(self, ahead: timedelta) -> None:
        if self._may_have_been_off:
            log.info("time_has_passed_unseen", by=str(ahead), counts_after=str(self.believed_after))
        else:
            log.warning("clock_jumped_ahead", by=str(ahead), hint="nothing is removed for its age by it")


def _fewer(jumps: Sequence[tuple[timedelta, float]]) -> list[tuple[timedelta, float]]:
    """Make room for one more."""
    return list(jumps) if len(jumps) < _JUMPS else [*jumps[:-2], jumps[-1]]
