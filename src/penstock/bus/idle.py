"""Workers that have nothing to do: how they wait, and how one of them is woken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .group import Member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Filter


class WorkingMember(Member):
    """A member of a group whose workers wait for events."""

    def __init__(self, types: Sequence[type], only: Filter | None) -> None:
        super().__init__(frozenset(types), only)
        self._idle: list[asyncio.Future[None]] = []

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return len(self._idle)

    async def wait(self) -> None:
        """Be an idle worker until woken."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(woken)
        await woken

    def wake(self) -> None:
        """Have an idle worker look for an event, if there is one."""
        while self._idle:
            woken = self._idle.pop()
            if not woken.done():
                woken.set_result(None)
                return

    def wake_all(self) -> None:
        """Have every idle worker look, after the queues were rearranged."""
        for _ in range(len(self._idle)):
            self.wake()


def wake_one(members: tuple[WorkingMember, ...]) -> None:
    """Wake a worker of the member with the most idle ones."""
    if len(members) == 1:
        members[0].wake()
    elif members:
        max(members, key=lambda member: member.idle).wake()
