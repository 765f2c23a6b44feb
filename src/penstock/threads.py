"""Waits for work that must not be left half done, such as that of a thread, which nobody can end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


async def to_its_end(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Do some short work in a thread and return what it brings; see `to_the_end`."""
    return await to_the_end(asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named)))


async def to_the_end(work: asyncio.Future[T]) -> T:
    """Wait for work that cannot be stopped, even if this task is cancelled meanwhile.

    Otherwise bytes could be written after their upload's lock was given to somebody else; and were the file closed that
    a thread writes to, whatever is opened next might get its number, and the rest of the bytes. The cancellation is
    passed on when the work has ended.
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
