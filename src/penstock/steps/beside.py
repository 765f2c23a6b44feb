"""Runs what watches over some work, for as long as that goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

log = structlog.get_logger(__name__)


@asynccontextmanager
async def beside(upload_id: str, *watching: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these while the context is open; `upload_id` is for the log, should one of them fail.

    What goes wrong in the context comes out as it is; a task group would wrap it. A watcher that fails is no reason to
    break the work off: the others go on, and so does it.
    """
    tasks = [asyncio.create_task(each) for each in watching]
    for task in tasks:
        task.add_done_callback(partial(_tell, upload_id))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _tell(upload_id: str, watcher: asyncio.Task[None]) -> None:
    if not watcher.cancelled() and (error := watcher.exception()) is not None:
        what = getattr(watcher.get_coro(), "__qualname__", "")
        log.error("step_watcher_failed", upload=upload_id, watcher=what, error=str(error), exc_info=error)
