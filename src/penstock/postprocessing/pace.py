"""Keeps what is done for many uploads at once from holding up the others.

Whatever the coordinator says comes back to it, in one stream with what others say: who says a lot at once has every
upload wait behind it. And a walk over many records leaves the event loop to nobody, unless it rests.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..bus.base import Bus
    from ..clock import Clock

_WAITING: Final = 200
"""Events that may wait for us while more are said: what is handled in some hundredths of a second."""
_LOOK: Final = timedelta(milliseconds=5)
_LONGEST: Final = timedelta(seconds=1)
"""Work for many goes on in the end, also where more arrives than we can handle."""
_STRETCH: Final = 128
"""Records between two rests of a walk."""
_LONGEST_REST: Final = timedelta(milliseconds=50)


async def wait_for_room(bus: Bus, group: str, clock: Clock) -> None:
    """Return when little waits for `group`, or when it was waited for long enough."""
    ends_at = clock.monotonic() + _LONGEST.total_seconds()
    while bus.pending(group) > _WAITING and clock.monotonic() < ends_at:
        await clock.sleep(_LOOK)


class Rests:
    """The rests of one walk: half as long as it has walked since the last one, for whoever waits to run."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records = 0
        self._since = clock.monotonic()

    async def after(self, records: int = 1) -> None:
        """Rest now and then; to be called after that many records."""
        self._records += records
        if self._records < _STRETCH:
            return
        self._records = 0
        walked = timedelta(seconds=self._clock.monotonic() - self._since)
        await self._clock.sleep(min(walked / 2, _LONGEST_REST))
        self._since = self._clock.monotonic()
