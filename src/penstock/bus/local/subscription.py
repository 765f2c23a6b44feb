"""One subscription: its workers, and what becomes of an event whose handler raises."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

import structlog

from ...errors import PenstockError
from ..group import Member
from ..pauses import pause_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..base import Filter, Handler
    from ..group import Entry, Group
    from .retries import Retries

log = structlog.get_logger(__name__)

handling: ContextVar[bool] = ContextVar("handling", default=False)
"""Whether the running code was called by a handler of a local bus."""


class Subscription(Member):
    """A member of a group that hands its events to a handler."""

    def __init__(
        self, group: Group[Subscription], types: Sequence[type], only: Filter | None, handler: Handler
    ) -> None:
        super().__init__(frozenset(types), only)
        self._group = group
        self._handler = handler
        self._idle: list[asyncio.Future[None]] = []
        self._ended = False

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return len(self._idle)

    def wake(self) -> None:
        """Have an idle worker look for an event, if there is one."""
        while self._idle:
            woken = self._idle.pop()
            if not woken.done():
                woken.set_result(None)
                return

    async def work(self, retries: Retries) -> None:
        """Be one of the workers until cancelled, or until a handler has died under one of them."""
        handling.set(True)
        while not self._ended:
            entry = self._group.take(self)
            if entry is None:
                await self._wait()
                continue
            await self._handle(entry, retries)
            # A handler that waits for nothing would otherwise keep everybody else from running.
            await asyncio.sleep(0)

    async def _wait(self) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(woken)
        await woken

    async def _handle(self, entry: Entry, retries: Retries) -> None:
        try:
            await self._handler(entry.envelope)
        except asyncio.CancelledError as error:
            if _is_cancelled():
                self._return(entry, first=True)
                raise
            self._failed(entry, error, retries)  # something that the handler waited for was cancelled, not we
        except Exception as error:  # noqa: BLE001  # whatever went wrong, the event has to come again
            self._failed(entry, error, retries)
        except BaseException:
            self._ended = True
            self._return(entry, first=True)
            raise
        else:
            self._group.finish(entry)

    def _failed(self, entry: Entry, error: BaseException, retries: Retries) -> None:
        entry.failures += 1
        self._group.failures += 1
        pause = pause_after(entry.failures)
        retries.after(pause, lambda: self._return(entry, first=False))
        log.warning(
            "event_handler_failed",
            group=self._group.name,
            event_type=entry.envelope.event_type,
            event_id=entry.envelope.event_id,
            upload=entry.envelope.event.upload_id,
            failures=entry.failures,
            again_after_seconds=pause.total_seconds(),
            error=str(error) or type(error).__name__,
            exc_info=None if isinstance(error, PenstockError) else error,  # a trace is for what nobody foresaw
        )

    def _return(self, entry: Entry, *, first: bool) -> None:
        wake_one(self._group.give_back(entry, first=first))


def wake_one(members: tuple[Subscription, ...]) -> None:
    """Wake a worker of the member with the most idle ones."""
    if len(members) == 1:
        members[0].wake()
    elif members:
        max(members, key=lambda member: member.idle).wake()


def wake_all(group: Group[Subscription]) -> None:
    """Have every idle worker of a group look, after its queues were rearranged."""
    for member in group.members:
        for _ in range(member.idle):
            member.wake()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
