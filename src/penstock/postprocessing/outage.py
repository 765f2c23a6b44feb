"""When the bus did not take what was said to it: time that no step may be blamed for."""

from __future__ import annotations

from datetime import datetime

import msgspec


class _Span(msgspec.Struct, frozen=True):
    began_at: datetime
    ended_at: datetime | None = None
    """None: it lasts."""


class Outage:
    """The latest time in which this instance could not publish. Pure: the time is handed in."""

    def __init__(self) -> None:
        self._latest: _Span | None = None

    @property
    def lasts(self) -> bool:
        """Whether the bus has not taken anything since."""
        return self._latest is not None and self._latest.ended_at is None

    def noticed(self, now: datetime) -> None:
        """Note that the bus refused something, or did not answer."""
        if self._latest is None or self._latest.ended_at is not None:
            self._latest = _Span(now)

    def over(self, now: datetime) -> None:
        """Note that the bus took something."""
        if self._latest is not None and self._latest.ended_at is None:
            self._latest = _Span(self._latest.began_at, now)

    def covers(self, at: datetime | None) -> bool:
        """Tell whether the bus was away at that time; None is no time."""
        if self._latest is None or at is None or at < self._latest.began_at:
            return False
        return self._latest.ended_at is None or at <= self._latest.ended_at
