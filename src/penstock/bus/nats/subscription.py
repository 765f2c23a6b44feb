"""One subscription: its workers, and how long they take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ..group import Member

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


class Subscription(Member):
    """A member of a group that hands its events to a handler."""

    def __init__(
        self, types: Sequence[type], only: Filter | None, handler: Handler, *, workers: int, clock: Clock
    ) -> None:
        super().__init__(frozenset(types), only)
        self.handler = handler
        self.workers = workers
        self._clock = clock
        self._idle: list[asyncio.Future[None]] = []
        self._average_seconds = 1.0

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return len(self._idle)

    @property
    def ahead(self) -> int:
        """How many events beyond what is being handled will be begun in a moment; 0 where handling takes long."""
        return min(_MOST_AHEAD, int(self.workers * _AHEAD_SECONDS / self._average_seconds))

    def wake(self) -> None:
        """Have an idle worker look for an event, if there is one."""
        while self._idle:
            woken = self._idle.pop()
            if not woken.done():
                woken.set_result(None)
                return

    def wake_all(self) -> None:
        """Have every idle worker look."""
        for _ in range(len(self._idle)):
            self.wake()

    def note_wait(self) -> None:
        """Take down that an event waited for a worker much longer than it should: nothing is fetched ahead for now."""
        self._average_seconds = max(1.0, self._average_seconds)

    async def work(self, group: Group[Subscription], handle: Callable[[Subscription, Entry], Awaitable[None]]) -> None:
        """Be one of the workers until cancelled."""
        while True:
            entry = group.take(self)
            if entry is None:
                woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(woken)
                await woken
                continue
            began = self._clock.monotonic()
            await handle(self, entry)
            took = self._clock.monotonic() - began
            self._average_seconds = max(1e-5, (1 - _WEIGHT) * self._average_seconds + _WEIGHT * took)
            # A handler that waits for nothing would otherwise keep everybody else from running.
            await asyncio.sleep(0)


def wake_one(members: tuple[Subscription, ...]) -> None:
    """Wake a worker of the member with the most idle ones."""
    if len(members) == 1:
        members[0].wake()
    elif members:
        max(members, key=lambda member: member.idle).wake()
