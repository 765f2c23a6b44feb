"""One writer per upload: a new request asks the holder to stop, and takes over within a bound.

A connection that died without a word would otherwise keep its upload until the network notices, which takes minutes.
The newest request wins: those who wait are asked to stop as well, and so don't begin to read a body when their turn
comes. Nobody is stopped in the middle of anything but waiting for bytes of a client (`Hold.receiving`).

The locks live in memory, and so die with the process. `shared_locks` has those of several instances.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import Ending, Idle, Interrupted, Locked, WrongOffset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...errors import Unavailable

TAKEOVER: Final = timedelta(seconds=10)
"""How long a newcomer waits for the holder to let go: it only has to write what it has in memory, or to flush."""
PAUSE: Final = timedelta(milliseconds=100)
LINGER: Final = timedelta(seconds=1)
"""Whoever is asked to stop still takes what has been sent already: until a pause this long, and not for longer. So
bytes are not thrown away that a client which has just lost its connection believes to have arrived."""
IDLE: Final = timedelta(seconds=60)
"""How long a client may send nothing in the middle of a body; it can resume, so little is lost by ending it."""
_SLACK: Final = 1.02
"""How many times as long it takes until that is noticed, at most."""


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
        deadline = self._deadline
        if deadline is None or deadline.expired():
            return
        now = asyncio.get_running_loop().time()
        if self.asked is not None:
            deadline.reschedule(min(now + PAUSE.total_seconds(), self._stops_at))
        elif (deadline.when() or 0.0) < now + self._idle_seconds:
            # A little later than it need be, so that it is not to be moved for each piece of a body.
            deadline.reschedule(now + self._idle_seconds * _SLACK)

    def receiving(self, idle: timedelta) -> _Receiving:
        """Wait for a client inside of this.

        Raises:
            Interrupted, Ending: the holder was asked to stop.
            Idle: `alive` was not called for as long as `idle`.
        """
        self._idle_seconds = idle.total_seconds()
        return _Receiving(self)

    async def _begin_to_receive(self) -> None:
        if self.asked is not None:
            raise self.asked
        self._deadline = asyncio.timeout(self._idle_seconds * _SLACK)
        await self._deadline.__aenter__()

    async def _end_to_receive(self, *exc_info: Any) -> None:
        deadline, self._deadline = self._deadline, None
        try:
            if deadline is not None:
                await deadline.__aexit__(*exc_info)
        except TimeoutError as error:
            if self.asked is not None:
                raise self.asked from error
            raise Idle(
                f"upload {self._upload_id}: nothing arrived for {self._idle_seconds:g} s. What did arrive is kept, "
                "unless a checksum was to be met: ask for the offset with HEAD, and continue."
            ) from error


class _Receiving:
    """The context of `Hold.receiving`; as a class, since one made of a generator takes three times as long."""

    __slots__ = ("_hold",)

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    async def __aenter__(self) -> None:
        await self._hold._begin_to_receive()

    async def __aexit__(self, *exc_info: object) -> None:
        await self._hold._end_to_receive(*exc_info)


class Locks(Protocol):
    """Locks by upload ID: of this process (`UploadLocks`), or of all instances (`SharedLocks`)."""

    @property
    def shared(self) -> bool:
        """Whether others work on the same uploads."""
        ...

    def holder(self, upload_id: str) -> Hold | None:
        """Return who holds an upload's lock in this process."""
        ...

    def hold(self, upload_id: str, *, ask: bool = True, offset: int | None = None) -> AbstractAsyncContextManager[Hold]:
        """Hold an upload's lock; whoever holds it is asked to stop, unless not to `ask`.

        With an `offset`, from which on the upload is to be continued, nobody is who has got further than that and keeps
        it: then nothing could be continued. Of two requests for one offset, the first one that sends a byte wins, and
        not nobody.

        Raises:
            WrongOffset: somebody has.
        """
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

    def hold(self, upload_id: str, *, ask: bool = True, offset: int | None = None) -> AbstractAsyncContextManager[Hold]:
        """Hold an upload's lock; whoever holds it or waits for it is asked to stop, unless not to `ask`.

        Raises:
            Locked: the holder did not let go in time, or was not to be asked.
            WrongOffset: it has got further than `offset` (`Locks.hold`).
        """
        return _Holding(self, upload_id, ask=ask, offset=offset)

    async def _take(self, upload_id: str, *, ask: bool, offset: int | None) -> Hold:
        if not ask and upload_id in self._queues:
            raise Locked(f"upload {upload_id}: a request works on it.")
        if offset is not None and (holder := self.holder(upload_id)) is not None:
            spare(offset, holder.kept_bytes)
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
        if queue[0] is not hold:
            try:
                await self._wait(hold, upload_id)
            except BaseException:
                self._give_back(upload_id, hold)
                raise
        return hold

    def _give_back(self, upload_id: str, hold: Hold) -> None:
        queue = self._queues[upload_id]
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


class _Holding(AbstractAsyncContextManager[Hold]):
    """The context of `UploadLocks.hold`; a class for the same reason as `_Receiving`."""

    __slots__ = ("_ask", "_hold", "_locks", "_offset", "_upload_id")

    def __init__(self, locks: UploadLocks, upload_id: str, *, ask: bool, offset: int | None) -> None:
        self._locks = locks
        self._upload_id = upload_id
        self._ask = ask
        self._offset = offset

    async def __aenter__(self) -> Hold:
        self._hold = await self._locks._take(self._upload_id, ask=self._ask, offset=self._offset)
        return self._hold

    async def __aexit__(self, *exc_info: object) -> None:
        self._locks._give_back(self._upload_id, self._hold)


def spare(offset: int, kept_bytes: int | None) -> None:
    """Spare a holder that keeps so much (None: it cannot tell yet) from who would continue at `offset`.

    Raises:
        WrongOffset: that one could not, even if the holder stopped.
    """
    if kept_bytes is not None and offset < kept_bytes:
        raise WrongOffset(sent=offset, offset=kept_bytes)


def _ending() -> Ending:
    return Ending("this server is ending. What has arrived is kept: continue when it is back.")
