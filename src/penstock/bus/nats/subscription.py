"""One subscription: its workers, and how long they take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ..idle import WorkingMember

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ...clock import Clock
    from ..base import Filter, Handler
    from ..group import Entry, Group

_AHEAD_SECONDS: Final = 0.02
"""What the workers finish within this time is fetched ahead: a little more than a question to the server takes."""
_MOST_AHEAD: Final = 256
_WEIGHT: Final = 0.1
"""Of the latest event in the average."""


class Subscription(WorkingMember):
    """A member of a group that hands its events to a handler."""

    def __init__(
        self, types: Sequence[type], only: Filter | None, handler: Handler, *, workers: int, clock: Clock
    ) -> None:
        super().__init__(types, only)
        self.handler = handler
        self.workers = workers
        self._clock = clock
        self._average_seconds = 1.0

    @property
    def ahead(self) -> int:
        """How many events beyond what is being handled will be begun in a moment; 0 where handling takes long."""
        return min(_MOST_AHEAD, int(self.workers * _AHEAD_SECONDS / self._average_seconds))

    def note_wait(self) -> None:
        """Take down that an event waited for a worker much longer than it should: nothing is fetched ahead for now."""
        self._average_seconds = max(1.0, self._average_seconds)

    async def work(self, group: Group[Subscription], handle: Callable[[Subscription, Entry], Awaitable[None]]) -> None:
        """Be one of the workers until cancelled."""
        while True:
            entry = group.take(self)
            if entry is None:
                await self.wait()
                continue
            began = self._clock.monotonic()
            await handle(self, entry)
            took = self._clock.monotonic() - began
            self._average_seconds = max(1e-5, (1 - _WEIGHT) * self._average_seconds + _WEIGHT * took)
            # A handler that waits for nothing would otherwise keep everybody else from running.
            await asyncio.sleep(0)
