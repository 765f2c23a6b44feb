"""How many files a service is given at a time: as many as we want, or fewer when it says that it can take fewer."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Places:
    """A number of places that may change while they are taken."""

    def __init__(self, limit: int) -> None:
        self._most = limit
        self._limit = limit
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def limit_to(self, told: int | None) -> None:
        """Take note of what the service says that it can take; None: nothing."""
        self._limit = self._most if not told else min(self._most, told)
        self._let_in()

    async def wait(self) -> None:
        """Wait until there is a place, and take it; give it back with `taken`."""
        if self._taken < self._limit and not self._waiting:
            self._taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._give_back()  # it was our turn at the very moment in which we gave up
            else:
                self._waiting.remove(turn)
            raise

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Give the place back at the end."""
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        self._taken -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._taken < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
