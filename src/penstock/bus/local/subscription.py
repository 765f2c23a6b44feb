"""One subscription: its workers, and what becomes of an event whose handler raises."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

import structlog

from ...errors import PenstockError
from ..idle import WorkingMember, wake_one
from ..pauses import pause_after
from ..tasks import is_cancelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..base import Filter, Handler
    from ..group import Entry, Group
    from .retries import Retries

log = structlog.get_logger(__name__)

handling: ContextVar[bool] = ContextVar("handling", default=False)
"""Whether the running code was called by a handler of a local bus."""


class Subscription(WorkingMember):
    """A member of a group that hands its events to a handler."""

    def __init__(
        self, group: Group[Subscription], types: Sequence[type], only: Filter | None, handler: Handler
    ) -> None:
        super().__init__(types, only)
        self._group = group
        self._handler = handler
        self._ended = False

    async def work(self, retries: Retries) -> None:
        """Be one of the workers until cancelled, or until a handler has died under one of them."""
        handling.set(True)
        while not self._ended:
            entry = self._group.take(self)
            if entry is None:
                await self.wait()
                continue
            await self._handle(entry, retries)
            # A handler that waits for nothing would otherwise keep everybody else from running.
            await asyncio.sleep(0)

    async def _handle(self, entry: Entry, retries: Retries) -> None:
        try:
            await self._handler(entry.envelope)
        except asyncio.CancelledError as error:
            if is_cancelled():
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
