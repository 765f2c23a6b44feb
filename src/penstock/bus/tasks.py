"""Tasks that live exactly as long as a context is open."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine


class OwnedTasks:
    """The tasks of one context."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin a task; return it, so that it can be cancelled before the others."""
        task = self._group.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def stop(self) -> None:
        """Cancel all tasks and wait until they have ended, however they end."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)


@asynccontextmanager
async def owned_tasks() -> AsyncIterator[OwnedTasks]:
    """Own tasks: leaving the context cancels them and waits for their end.

    A task that fails cancels the body, and its error comes out of the context in an exception group. An error of the
    body comes out as it is, which a TaskGroup alone would wrap.
    """
    failure: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        tasks = OwnedTasks(group)
        try:
            yield tasks
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # raised again below
            failure = error
        finally:
            await tasks.stop()
    if failure is not None:
        raise failure


def is_cancelled() -> bool:
    """Tell whether it is the running task that is being cancelled, not something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
