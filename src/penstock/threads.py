"""Work in threads on something that is closed at the end, such as an open file."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")


async def to_its_end(work: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> None:
    """Do some short work in a thread; who is cancelled meanwhile is so when the thread has ended.

    Nobody can end a thread. Were the file closed that it writes to, whatever is opened next might get its number, and
    the rest of the bytes.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with suppress(asyncio.CancelledError):  # and is so once, however often
                await asyncio.wait({working})
        raise
