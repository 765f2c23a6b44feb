"""How far back a bus remembers what is on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Memory:
    """What was published before `begins_at` may be gone, though nobody has handled it."""

    def __init__(self) -> None:
        self._begins_at: datetime | None = None
        self._moved = asyncio.Event()

    @property
    def begins_at(self) -> datetime | None:
        """None: nothing is known to be gone, or the bus forgets everything with its process anyway."""
        return self._begins_at

    def begin(self, at: datetime) -> None:
        """Take down that what was published before `at` is gone."""
        if at != self._begins_at:
            self._begins_at = at
            self._moved.set()
            self._moved = asyncio.Event()

    async def moved_from(self, known: datetime | None) -> None:
        """Wait until it begins at another time than `known`."""
        while self._begins_at == known:
            await self._moved.wait()
