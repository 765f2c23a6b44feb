"""Which of several clamds is asked next: one that works, has least to do, and has not been asked for longest."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ..base import PlaceState, Scanner, SelfTestFailed
from .protocol import ClamdFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...clock import Clock
    from .daemon import Clamd

log = structlog.get_logger(__name__)

_FIRST_REST: Final = timedelta(seconds=2)
_LONGEST_REST: Final = timedelta(minutes=1)
_ERRORS_IN_A_ROW: Final = 3
"""So often a clamd may answer ERROR: that may be due to the file. One that is not there rests at once."""


class Member:
    """One of the clamds, and how it has been doing."""

    def __init__(self, clamd: Clamd, clock: Clock, scanner: Scanner | None = None) -> None:
        self.clamd = clamd
        self.scanner: Scanner = scanner or clamd
        """How it is asked: itself, or what watches over it."""
        self.scans = 0
        """How many files it is looking at for us."""
        self.turn = 0
        """Rises with each time that it is asked."""
        self.last_error: Exception | None = None
        self._clock = clock
        self._failures = 0
        self._rests_until: float | None = None

    @property
    def rests(self) -> bool:
        """Whether it is not asked, but only put to the test when its rest is over."""
        return self._rests_until is not None

    @property
    def is_trusted(self) -> bool:
        """Whether it may be asked when there is nobody else: not one that misses EICAR."""
        return not isinstance(self.last_error, SelfTestFailed)

    @property
    def rest_left(self) -> timedelta:
        """How long until it is to be put to the test."""
        return timedelta(seconds=max(0.0, (self._rests_until or 0.0) - self._clock.monotonic()))

    def state(self) -> PlaceState:
        """Tell how it is."""
        return PlaceState(str(self.clamd.address), str(self.last_error) if self.rests else "")

    @contextmanager
    def working(self, turn: int) -> Iterator[None]:
        """Count a file that it looks at."""
        self.turn, self.scans = turn, self.scans + 1
        try:
            yield
        finally:
            self.scans -= 1

    def answered(self) -> None:
        """Take it back: it works."""
        if self.rests:
            log.info("clamd_asked_again", address=str(self.clamd.address), failures=self._failures)
        self._failures, self._rests_until, self.last_error = 0, None, None

    def failed(self, error: Exception) -> None:
        """Have it rest, each time longer, unless it is its first ERROR."""
        self.last_error = error
        self.clamd.forget()
        if self.rest_left:
            return  # it was asked before its rest began, or for want of another
        self._failures += 1
        if isinstance(error, ClamdFailed) and self._failures < _ERRORS_IN_A_ROW and not self.rests:
            return
        rest = min(_LONGEST_REST, _FIRST_REST * 2 ** min(self._failures - 1, 10))
        self._rests_until = self._clock.monotonic() + rest.total_seconds()
        log.warning("clamd_rests", address=str(self.clamd.address), seconds=rest.total_seconds(), error=str(error))


def next_of(members: Sequence[Member]) -> Member | None:
    """Choose among those who work; when all rest, the trusted one whose rest ends first. None: there is none."""
    working = [member for member in members if not member.rests]
    if working:
        return min(working, key=lambda member: (member.scans, member.turn))
    trusted = [member for member in members if member.is_trusted]
    return min(trusted, key=lambda member: member.rest_left, default=None)
