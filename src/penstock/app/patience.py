"""Opening what may not be there yet: servers start in any order."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from ..errors import Unavailable
from ..health import Check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ..clock import Clock

T = TypeVar("T")

log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = timedelta(seconds=0.5)
_LONGEST_PAUSE: Final = timedelta(seconds=5)
"""Work begins within this, and what a connection takes, after the last of the servers is there."""


class Patience:
    """Opens what needs servers, however long these are away, and tells meanwhile what is missing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.waits_for = "It is starting."
        """What was missing at the latest try, in a sentence."""

    @asynccontextmanager
    async def opened(self, opens: Callable[[AsyncExitStack], Awaitable[T]]) -> AsyncIterator[T]:
        """Open something, with growing pauses between the tries.

        Args:
            opens: Opens it, and puts on the stack what is to be closed; called anew for each try.
        """
        pause = _FIRST_PAUSE
        while True:
            async with AsyncExitStack() as stack:
                try:
                    opened = await opens(stack)
                except Unavailable as error:
                    self.waits_for = str(error)
                    log.warning("servers_are_away", error=str(error), next_try_seconds=pause.total_seconds())
                else:
                    yield opened
                    return
            await self._clock.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def check(self, name: str = "servers", hint: str = "It goes on by itself once they are there.") -> Check:
        """Return what to tell as long as it is not open."""
        return Check(name, ok=False, detail=self.waits_for, hint=hint, gates=True)
