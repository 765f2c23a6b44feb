"""Opening what may not be there yet: servers start in any order."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from ..errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ..clock import Clock

T = TypeVar("T")

log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = timedelta(seconds=0.5)
_LONGEST_PAUSE: Final = timedelta(seconds=5)
"""Work begins within this, and what a connection takes, after the last of the servers is there."""


@asynccontextmanager
async def opened_in_time(
    opens: Callable[[AsyncExitStack], Awaitable[T]], clock: Clock, waits_for: Callable[[str], None]
) -> AsyncIterator[T]:
    """Open something, however long the servers that it needs are away, with growing pauses in between.

    Args:
        opens: Opens it, and puts on the stack what is to be closed; called anew for each try.
        clock: Measures the pauses.
        waits_for: Is told what is missing, after each try.
    """
    pause = _FIRST_PAUSE
    while True:
        async with AsyncExitStack() as stack:
            try:
                opened = await opens(stack)
            except Unavailable as error:
                waits_for(str(error))
                log.warning("servers_are_away", error=str(error), next_try_seconds=pause.total_seconds())
            else:
                yield opened
                return
        await clock.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 2)
