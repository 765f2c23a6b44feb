"""Waits for work that must not be left half done."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: asyncio.Future[T]) -> T:
    """Wait for work, such as a thread's, which cannot be stopped, even if this task is cancelled meanwhile.

    Otherwise bytes could be written after their upload's lock was given to somebody else. The cancellation is passed on
    when the work has ended.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        work.exception()
        raise cancelled
    return work.result()
