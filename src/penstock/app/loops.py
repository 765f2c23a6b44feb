"""Loops that run in the background for as long as a context is open."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence


@asynccontextmanager
async def running(loops: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run loops that never end by themselves while the context is open."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
