"""Waits for work that must not be left half done."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: asyncio.Future[T]) -> T:
    """Wait for work, such as a thread's, which cannot be stopped, even if this task is cancelled meanwhile.

    Otherwise bytes could be written after their upload's lock was given to somebody else. The cancellation is passed on
    when the work has ended.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        # As `asyncio.wait` does it, in a third of its time: each upload comes here a few times.
        ended = asyncio.get_running_loop().create_future()
        wake = partial(_wake, ended)
        work.add_done_callback(wake)
        try:
            await ended
        except asyncio.CancelledError as error:
            cancelled = error
            work.remove_done_callback(wake)
    if cancelled is not None:
        work.exception()
        raise cancelled
    return work.result()


def _wake(waiter: asyncio.Future[None], work: asyncio.Future[T]) -> None:
    del work
    if not waiter.done():
        waiter.set_result(None)
