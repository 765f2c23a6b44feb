"""One writer per upload: a new request asks the holder to stop, and takes over within a bound.

A connection that died without a word would otherwise keep its upload until the network notices, which takes minutes.
The newest request wins: those who wait are asked to stop as well, and so don't begin to read a body when their turn
comes. Nobody is stopped in the middle of anything but waiting for bytes of a client (`Hold.receiving`).

The locks live in memory, and so die with the process. `shared_locks` has those of several instances.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from .errors import Ending, Idle, Interrupted, Locked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from ..errors import Unavailable

TAKEOVER: Final = timedelta(seconds=10)
"""How long a newcomer waits for the holder to let go: it only has to write what it has in memory, or to flush."""
PAUSE: Final = timedelta(milliseconds=100)
LINGER: Final = timedelta(seconds=1)
"""Whoever is asked to stop still takes what has been sent already: until a pause this long, and not for longer. So
bytes are not thrown away that a client which has just lost its connection believes to have arrived."""
IDLE: Final = timedelta(seconds=60)
"""How long a client may send nothing in the middle of a body; it can resume, so little is lost by ending it."""


class Hold:
    """The lock of an upload, in somebody's hands."""

    def __init__(self, upload_id: str) -> None:
        self.kept_bytes: int | None = None
        """Up to which byte the upload will remain, whatever happens to this request; None: it cannot tell yet."""
        self.written_bytes: int | None = None
        """The same, whatever happens to this process."""
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.confirm: Callable[[int], Awaitable[None]] | None = None
        """To be called with the offset once the file is open, before anything is written to it; None: no need."""
        self.asked: Unavailable | None = None
        """Why the holder is to stop; None: it is not."""
        self._upload_id = upload_id
        self._stops_at = 0.0
        self._deadline: asyncio.Timeout | None = None
        self._idle_seconds = 0.0

    def ask(self, why: Unavailable) -> None:
        """Ask the holder to stop waiting for its client; `why` is what it will raise."""
        if self.asked is None:
            self.asked = why
            self._stops_at = asyncio.get_running_loop().time() + LINGER.total_seconds()
            self.alive()

    def alive(self) -> None:
        """Note that the client has sent something."""
        if self._deadline is not None and not self._deadline.expired():
            now = asyncio.get_running_loop().time()
            stops_at = now + self._idle_seconds
            if self.asked is not None:
                stops_at = min(now + PAUSE.total_seconds(), self._stops_at)
            self._deadline.reschedule(stops_at)

    @asynccontextmanager
    async def receiving(self, idle: timedelta) -> AsyncIterator[None]:
        """Wait for a client inside of this.

        Raises:
            Interrupted, Ending: the holder was asked to stop.
            Idle: `alive` was not called for as long as `idle`.
        """
        if self.asked is not None:
            raise self.asked
        self._idle_seconds = idle.total_seconds()
        try:
            async with asyncio.timeout(self._idle_seconds) as self._deadline:
                yield
        except TimeoutError as error:
            if self.asked is not None:
                raise self.asked from error
            raise Idle(
                f"upload {self._upload_id}: nothing arrived for {self._idle_seconds:g} s. What did arrive is kept, "
                "unless a checksum was to be met: ask for the offset with HEAD, and continue."
            ) from error
        finally:
            self._deadline = None


class Locks(Protocol):
    """Locks by upload ID: of this process (`UploadLocks`), or of all instances (`SharedLocks`)."""

    @property
    def shared(self) -> bool:
        """Whether others work on the same uploads."""
        ...

    def holder(self, upload_id: str) -> Hold | None:
        """Return who holds an upload's lock in this process."""
        ...

    def hold(self, upload_id: str, *, ask: bool = True) -> AbstractAsyncContextManager[Hold]:
        """Hold an upload's lock; whoever holds it is asked to stop, unless not to `ask`."""
        ...

    def alone(self, upload_id: str, *, ask: bool = True) -> AbstractAsyncContextManager[object]:
        """Keep other instances from working on an upload; within this process the gateway takes turns."""
        ...

    async def close(self) -> None:
        """Ask everybody to stop, now and from now on."""
        ...


class UploadLocks:
    """Locks by upload ID, of one process."""

    shared = False

    def __init__(self, takeover: timedelta = TAKEOVER) -> None:
        self._takeover = takeover
        self._queues: dict[str, list[Hold]] = {}
        self._closed = False
        self._free = asyncio.Event()

    def holder(self, upload_id: str) -> Hold | None:
        """Return who holds an upload's lock now."""
        queue = self._queues.get(upload_id)
        return queue[0] if queue else None

    @asynccontextmanager
    async def hold(self, upload_id: str, *, ask: bool = True) -> AsyncIterator[Hold]:
        """Hold an upload's lock; whoever holds it or waits for it is asked to stop, unless not to `ask`.

        Raises:
            Locked: the holder did not let go in time, or was not to be asked.
        """
        if not ask and upload_id in self._queues:
            raise Locked(f"upload {upload_id}: a request works on it.")
        hold = Hold(upload_id)
        queue = self._queues.setdefault(upload_id, [])
        for older in queue:
            older.ask(
                Interrupted(
                    f"another request continues upload {upload_id}. Ask for the offset with HEAD before going on."
                )
            )
        if self._closed:
            hold.ask(_ending())
        queue.append(hold)
        try:
            if queue[0] is not hold:
                await self._wait(hold, upload_id)
            yield hold
        finally:
            queue.remove(hold)
            if not queue:
                del self._queues[upload_id]
                if not self._queues:
                    self._free.set()
            elif not queue[0].turn.done():
                queue[0].turn.set_result(None)

    def alone(self, upload_id: str, *, ask: bool = True) -> AbstractAsyncContextManager[object]:
        """Do nothing: there is no other instance."""
        del upload_id, ask
        return nullcontext()

    async def close(self) -> None:
        """Ask everybody to stop, now and from now on; wait until they have, within the bound for taking over."""
        self._closed = True
        holds = [hold for queue in self._queues.values() for hold in queue]
        for hold in holds:
            hold.ask(_ending())
        self._free.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._takeover.total_seconds() if self._queues else 0):
                await self._free.wait()

    async def _wait(self, hold: Hold, upload_id: str) -> None:
        try:
            async with asyncio.timeout(self._takeover.total_seconds()):
                await hold.turn
        except TimeoutError as error:
            raise Locked(
                f"upload {upload_id}: another request is still writing its last bytes. Try again in a few seconds."
            ) from error


def _ending() -> Ending:
    return Ending("this server is ending. What has arrived is kept: continue when it is back.")
