"""What one of several instances does for all of them: the others wait until it ends, or dies."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ...errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from typing import Any

    from ...clock import Clock
    from .shared_locks import SharedLocks

log = structlog.get_logger(__name__)

_LEADER: Final = "leader"
"""What stands in the table of leases in the place of an upload."""
_PAUSE: Final = timedelta(seconds=1)


async def lead(works: Sequence[Callable[[], Coroutine[Any, Any, None]]], locks: SharedLocks, clock: Clock) -> None:
    """Run `works`, none of which ends by itself, whenever it is this instance that does them, until cancelled."""
    while True:
        try:
            async with locks.hold(_LEADER, ask=False):
                log.info("instance_leads")
                await _while_confirmed(works, lambda: locks.confirm(_LEADER), clock)
        except Unavailable as error:
            log.debug("instance_does_not_lead", reason=str(error))
        await clock.sleep(_PAUSE)


async def _while_confirmed(
    works: Sequence[Callable[[], Coroutine[Any, Any, None]]], confirm: Callable[[], Awaitable[None]], clock: Clock
) -> None:
    """Run `works` until `confirm`, asked again and again, raises; that is raised."""
    tasks = {asyncio.create_task(work(), name="leading") for work in works}
    try:
        while True:
            await clock.sleep(_PAUSE)
            await confirm()
            for task in tasks:
                if task.done():
                    task.result()  # it has failed in a way that nobody thought of: as loud as anything else
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
