"""One writer per upload: a new request asks the holder to stop, and takes over within a bound.

A connection that died without a word would otherwise keep its upload locked until the network notices.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .errors import Interrupted, Locked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TAKEOVER_SECONDS = 10.0
"""How long a newcomer waits for the holder to let go: it only has to write what it has in memory."""


class _Place:
    """The lock of one upload."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.holder: asyncio.Timeout | None = None


class UploadLocks:
    """Locks by upload ID. They live in memory, and so die with the process."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    @asynccontextmanager
    async def hold(self, upload_id: str) -> AsyncIterator[None]:
        """Hold the upload's lock; whoever held it is interrupted at its next wait.

        Raises:
            Locked: the holder did not let go in time.
            Interrupted: somebody else took over while we held it.
        """
        place = self._places.setdefault(upload_id, _Place())
        place.users += 1
        try:
            if place.holder is not None:
                place.holder.reschedule(asyncio.get_running_loop().time())
            await self._take(place, upload_id)
            try:
                async with asyncio.timeout(None) as place.holder:
                    yield
            except TimeoutError as error:
                raise Interrupted(f"another request continues upload {upload_id}") from error
            finally:
                place.holder = None
                place.lock.release()
        finally:
            place.users -= 1
            if not place.users:
                self._places.pop(upload_id, None)

    async def _take(self, place: _Place, upload_id: str) -> None:
        try:
            async with asyncio.timeout(TAKEOVER_SECONDS):
                await place.lock.acquire()
        except TimeoutError as error:
            raise Locked(f"upload {upload_id} is busy with another request. Try again in a few seconds.") from error
