"""Keeps what is done for many uploads at once from holding up the others.

Whatever the coordinator says comes back to it, in one stream with what others say: who says a lot at once has every
upload wait behind it.
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


async def wait_for_room(bus: Bus, group: str, clock: Clock) -> None:
    """Return when little waits for `group`, or when it was waited for long enough."""
    ends_at = clock.monotonic() + _LONGEST.total_seconds()
    while bus.pending(group) > _WAITING and clock.monotonic() < ends_at:
        await clock.sleep(_LOOK)
