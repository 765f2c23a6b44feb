"""Locks of uploads among instances: a request has the lock of its own process first, then the lease of all.

`Keeper` gives the signs of life, hears who waits for what this process holds, and gives back what could not be given
back at once.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ..db import DatabaseUnavailable
from ..errors import PenstockError
from .errors import Interrupted, Locked, WrongOffset
from .locks import TAKEOVER, UploadLocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from ..clock import Clock
    from .fencing import BlobFences
    from .leases import Lease, Leases
    from .locks import Hold

log = structlog.get_logger(__name__)

_LOOK: Final = timedelta(milliseconds=100)
"""How often to look whether others wait for what this process holds."""
_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.1
_BEATS: Final = 4
"""Signs of life for each length of a lease."""


class SharedLocks:
    """Locks by upload ID, among all processes; `keep` must run while they are used."""

    shared = True

    def __init__(self, leases: Leases, fences: BlobFences, clock: Clock, takeover: timedelta = TAKEOVER) -> None:
        self._leases = leases
        self._fences = fences
        self._clock = clock
        self._takeover = takeover
        self._local = UploadLocks(takeover)
        self._held: dict[str, tuple[Lease, Hold]] = {}
        self._to_give_back: dict[int, Lease] = {}
        self._writing: set[str] = set()
        self._something = asyncio.Event()

    def holder(self, upload_id: str) -> Hold | None:
        """Return who holds an upload's lock in this process."""
        return self._local.holder(upload_id)

    @asynccontextmanager
    async def hold(self, upload_id: str, *, ask: bool = True) -> AsyncIterator[Hold]:
        """Hold an upload's lock; whoever holds it or waits for it, anywhere, is asked to stop.

        Without `ask`, nobody is: who finds it taken goes away.

        Raises:
            Locked: the holder did not let go in time.
            LeaseLost: another instance took it over, and has the last word.
            DatabaseUnavailable: nobody can tell who holds it.
        """
        if not ask and self._local.holder(upload_id) is not None:
            raise _locked(upload_id)
        async with self._local.hold(upload_id) as hold:
            lease = await self._take(upload_id, hold, ask=ask)
            self._held[upload_id] = lease, hold
            self._leases.held[upload_id] = lease
            hold.confirm = lambda offset: self._writes(lease, offset)
            self._something.set()
            try:
                if lease.kept_bytes is not None:
                    await self._fences.fence(lease, lambda: self._leases.confirm(lease))
                    await self._leases.fenced(lease)
                yield hold
            except WrongOffset:
                await self._give_back(lease)  # it says where the upload stands
                raise
            except BaseException:
                self._give_back_soon(lease)
                raise
            finally:
                del self._held[upload_id], self._leases.held[upload_id]
                self._writing.discard(upload_id)
            await self._give_back(lease)

    def alone(self, upload_id: str, *, ask: bool = True) -> AbstractAsyncContextManager[object]:
        """Do what `hold` does: the lease is among instances."""
        return self.hold(upload_id, ask=ask)

    async def confirm(self, upload_id: str) -> None:
        """Make sure that this process still holds what it holds.

        Raises:
            LeaseLost: it does not.
            DatabaseUnavailable: nobody can tell.
        """
        await self._leases.confirm(self._held[upload_id][0])

    async def lapsed(self) -> list[str]:
        """Return the uploads that dead instances were working on."""
        return await self._leases.lapsed()

    async def close(self) -> None:
        """Do what `UploadLocks.close` does."""
        await self._local.close()

    async def keep(self) -> None:
        """Run until cancelled: without this, the leases lapse."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(), name="lease-beat")
            group.create_task(self._listen(), name="lease-listen")

    async def begin(self) -> None:
        """Give the first sign of life.

        Raises:
            DatabaseUnavailable: nobody heard it.
        """
        await self._leases.beat()

    async def end(self) -> None:
        """Give back everything, so that nobody has to wait for it to lapse."""
        try:
            await self._give_back_all()
            await self._leases.end()
        except DatabaseUnavailable as error:
            log.warning("leases_lapse", error=str(error))

    async def _take(self, upload_id: str, hold: Hold, *, ask: bool) -> Lease:
        loop = asyncio.get_running_loop()
        ends_at, pause = loop.time() + self._takeover.total_seconds(), _FIRST_PAUSE_SECONDS
        while True:
            if ask and hold.asked is not None:
                raise hold.asked
            lease = await self._leases.take(upload_id, ask=ask)
            if lease is not None:
                return lease
            if not ask or loop.time() > ends_at:
                raise _locked(upload_id)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)

    async def _writes(self, lease: Lease, offset: int) -> None:
        await self._leases.writes(lease, offset)
        self._writing.add(lease.upload_id)

    async def _give_back(self, lease: Lease) -> None:
        """Let go, and only then have the answer go out: what it says must still be true."""
        try:
            kept = await self._leases.give_back(lease)
        except BaseException:
            self._give_back_soon(lease)
            raise
        if not kept:
            raise lease.lost

    def _give_back_soon(self, lease: Lease) -> None:
        self._to_give_back[lease.token] = lease
        self._something.set()

    async def _give_back_all(self) -> None:
        for token, lease in list(self._to_give_back.items()):
            await self._leases.give_back(lease)
            self._to_give_back.pop(token, None)

    async def _beat(self) -> None:
        pause = self._leases.lease / _BEATS
        loop = asyncio.get_running_loop()
        good_until = loop.time() + self._leases.lease.total_seconds()
        while True:
            began_at = loop.time()
            try:
                elsewhere = await self._leases.beat()
                good_until = began_at + self._leases.lease.total_seconds()
                await self._give_back_all()
                if elsewhere:
                    await self._publish()
            except DatabaseUnavailable as error:
                if loop.time() > good_until:
                    self._stop_all(error)
            await self._clock.sleep(pause)

    async def _publish(self) -> None:
        """Note how much of what is being written is on disk for certain: other machines see it no sooner."""
        for upload_id in list(self._writing):
            try:
                length = await self._fences.flushed(upload_id)
                held = self._held.get(upload_id)
                if length is not None and held is not None and upload_id in self._writing:
                    await self._leases.writes(held[0], length)
            except DatabaseUnavailable:
                raise
            except PenstockError as error:
                log.info("offset_not_published", upload=upload_id, error=str(error))

    async def _listen(self) -> None:
        """Hear who waits, as long as there is anything to wait for."""
        while True:
            if not self._held and not self._to_give_back:
                self._something.clear()
                await self._something.wait()
            try:
                await self._give_back_all()
                for upload_id, token in await self._leases.asked():
                    held = self._held.get(upload_id)
                    if held is not None and held[0].token == token:
                        held[1].ask(_taken_over(upload_id))
            except DatabaseUnavailable:
                pass  # `_beat` sees to it
            await self._clock.sleep(_LOOK)

    def _stop_all(self, error: DatabaseUnavailable) -> None:
        for _lease, hold in list(self._held.values()):
            hold.ask(error)


def _taken_over(upload_id: str) -> Interrupted:
    return Interrupted(f"another request continues upload {upload_id}. Ask for the offset with HEAD before going on.")


def _locked(upload_id: str) -> Locked:
    return Locked(f"upload {upload_id}: another request is still writing its last bytes. Try again in a few seconds.")
