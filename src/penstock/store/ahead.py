"""Has the server look for the next page while the last one is worked on."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

T = TypeVar("T")


async def ahead(pages: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Yield `pages` in their order; the next one is asked for before one is yielded. Two are in memory at most.

    Raises:
        Exception: whatever `pages` raises, where the page would have been.
    """
    coming = asyncio.ensure_future(_next(pages))
    try:
        while page := await coming:
            coming = asyncio.ensure_future(_next(pages))
            yield page[0]
    finally:  # also where the consumer goes before the end
        coming.cancel()
        await asyncio.wait((coming,))
        if not coming.cancelled():
            coming.exception()  # it was raised above, or nobody is there to hear of it


async def in_turns(*walks: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Yield a page of each of several walks in turns, each of which is read ahead by one.

    Raises:
        Exception: whatever a walk raises, where its page would have been.
    """
    async with AsyncExitStack() as stack:
        going = deque([await stack.enter_async_context(aclosing(ahead(walk))) for walk in walks])
        while going:
            walk = going.popleft()
            try:
                page = await anext(walk)
            except StopAsyncIteration:
                continue
            going.append(walk)
            yield page


async def _next(pages: AsyncIterator[T]) -> tuple[T] | None:
    """Return the next page, by itself in a tuple; None at the end."""
    try:
        return (await anext(pages),)
    except StopAsyncIteration:
        return None
