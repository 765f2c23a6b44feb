"""Uploads whose timer could not be fired, each with the time of its next try.

They stay due in the store, so they would come first at every look, and keep those behind them from their turn.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..clock import Clock
    from ..store.base import Saved

_FIRST: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(minutes=1)
_MOST: Final = 1000
"""Uploads that are remembered; with more, the first of them are tried at every look."""


class _Rest(msgspec.Struct, frozen=True):
    failures: int
    until: float
    """On the monotonic clock."""


class Resting:
    """Keeps count of the failures in a row, and of the pauses that follow: 1 s, 2 s, 4 s, … up to `longest`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rests: dict[str, _Rest] = {}

    def __len__(self) -> int:
        return len(self._rests)

    def failed(self, upload_id: str, *, longest: timedelta = _LONGEST) -> None:
        """Have an upload rest, longer each time."""
        known = self._rests.pop(upload_id, None)
        failures = 1 if known is None else known.failures + 1
        pause = longest if failures > 6 else min(longest, _FIRST * 2 ** (failures - 1))
        self._rests[upload_id] = _Rest(failures, self._clock.monotonic() + pause.total_seconds())
        if len(self._rests) > _MOST:
            del self._rests[next(iter(self._rests))]

    def moved(self, upload_id: str) -> None:
        """Forget the failures of an upload."""
        self._rests.pop(upload_id, None)

    def awake(self, due: Iterable[Saved]) -> list[Saved]:
        """Return those that do not rest now: first in their order those that never did, then who has rested longest."""
        now = self._clock.monotonic()
        fresh, rested = [], []
        for saved in due:
            rest = self._rests.get(saved.progress.upload_id)
            if rest is None:
                fresh.append(saved)
            elif rest.until <= now:
                rested.append((rest.until, saved))
        rested.sort(key=lambda pair: pair[0])
        return [*fresh, *(saved for _, saved in rested)]

    def forget_others(self, due: Iterable[Saved]) -> None:
        """Forget whoever is not due any more: somebody else has moved it."""
        still = {saved.progress.upload_id for saved in due}
        self._rests = {upload_id: rest for upload_id, rest in self._rests.items() if upload_id in still}
