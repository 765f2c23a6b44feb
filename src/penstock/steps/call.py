"""One call of a step's function, which may block, hang, or end in any way a function can end.

A thread cannot be ended from outside. So each call gets a thread of its own (none from a pool that others use), the
function is asked to end, and a thread that does not is left behind: it holds up neither other calls nor the end of the
process.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .kit import StepDefinition, StepUpload, StopSignal


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended."""

    returned: object = None
    """What the function returned; means nothing when there is an `error`."""
    error: BaseException | None = None
    """What it raised instead."""


class Call(Protocol):
    """A call that has begun."""

    done: asyncio.Future[Ended]
    """Has the end once there is one. It never raises."""

    def stop(self) -> None:
        """Ask the function to end; it may take its time, or not do so at all."""
        ...

    @property
    def meant(self) -> bool:
        """Whether what it returned can be used although `stop` was called: it did not notice."""
        ...


def begin(definition: StepDefinition, upload: StepUpload, signal: StopSignal) -> Call:
    """Call the definition's function, in a thread of its own or on the running event loop, as it wants."""
    if definition.own_thread:
        return ThreadCall(definition, upload, signal)
    return LoopCall(definition, upload, signal)


class ThreadCall(Call):
    """A call in a thread of its own; an `async` function gets an event loop of its own there."""

    def __init__(self, definition: StepDefinition, upload: StepUpload, signal: StopSignal) -> None:
        self._home = asyncio.get_running_loop()
        self.done = self._home.create_future()
        self._definition = definition
        self._upload = upload
        self._signal = signal
        self._lock = threading.Lock()
        self._stopped = False
        self._task: asyncio.Task[object] | None = None
        # A daemon: when the process ends, nobody waits for a function that does not.
        threading.Thread(target=self._run, name=f"step-{definition.name}", daemon=True).start()

    def stop(self) -> None:
        """Let `upload.cancelled` be true; cancel the task of an `async` function."""
        self._signal.tell()
        with self._lock:
            self._stopped = True
            task = self._task
        if task is not None:
            with suppress(RuntimeError):  # its loop is closed: the task has ended
                task.get_loop().call_soon_threadsafe(task.cancel)

    @property
    def meant(self) -> bool:
        """Whether the function did not ask; a cancelled task always notices."""
        return self._task is None and not self._signal.heeded

    def _run(self) -> None:
        try:
            returned: object = self._definition(self._upload)
            if inspect.isawaitable(returned):
                returned = asyncio.run(self._attend(returned))
            ended = Ended(returned)
        except BaseException as error:  # noqa: BLE001 - also sys.exit() must not end more than this call
            ended = Ended(error=error)
        with suppress(RuntimeError):  # the server's loop is closed: nobody waits
            self._home.call_soon_threadsafe(self._settle, ended)

    async def _attend(self, awaitable: Awaitable[object]) -> object:
        with self._lock:
            self._task = asyncio.current_task()
            if self._stopped and self._task is not None:
                self._task.cancel()
        return await awaitable

    def _settle(self, ended: Ended) -> None:
        if not self.done.done():
            self.done.set_result(ended)


class LoopCall(Call):
    """A call of an `async` function of ours, on the server's own event loop."""

    def __init__(self, definition: StepDefinition, upload: StepUpload, signal: StopSignal) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._signal = signal
        self._task = asyncio.create_task(self._run(definition, upload))
        self._task.add_done_callback(self._settle)

    def stop(self) -> None:
        """Cancel the task."""
        self._signal.tell()
        self._task.cancel()

    @property
    def meant(self) -> bool:
        """Never: a cancelled task always notices."""
        return False

    async def _run(self, definition: StepDefinition, upload: StepUpload) -> Ended:
        try:
            return Ended(await definition(upload))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the end of this call and of nothing else
            return Ended(error=error)

    def _settle(self, task: asyncio.Task[Ended]) -> None:
        if not self.done.done():
            self.done.set_result(Ended(error=asyncio.CancelledError()) if task.cancelled() else task.result())
