"""Threads that wait for the disk, and hand what they have done straight to the event loop.

What `ThreadPoolExecutor` and asyncio's futures over its own do besides, to be used from any thread and to take work
back, takes three times as long as creating a small file does.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _Job(NamedTuple):
    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Crew:
    """Does work in threads, at most so many at the same time. All methods but `close` are for one event loop."""

    def __init__(self, most: int, name: str) -> None:
        """`most` threads, which are started when there is work for them; `name` is for those who look at them."""
        self._most = most
        self._name = name
        self._threads: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._unfinished = 0

    def run(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Have work done; return what its result will be in. Once asked for it is done, whoever is cancelled."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._unfinished >= len(self._threads) < self._most:
            self._begin_another()
        self._unfinished += 1
        self._jobs.put(_Job(work, arguments, future, loop))
        return future

    def _begin_another(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has none left: those that are there go on
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def close(self) -> None:
        """Wait until all is done that was asked for. Blocking; nothing may be asked for any more."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result, error = None, None
            try:
                result = job.work(*job.arguments)
            except BaseException as failure:  # noqa: BLE001  # it is raised where the result is awaited
                error = failure
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                job.loop.call_soon_threadsafe(self._deliver, job.future, result, error)
            del job, result, error  # what it held on to is not kept until the next one comes

    def _deliver(self, future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
        self._unfinished -= 1
        if future.done():  # its caller was cancelled
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
