"""Locks of uploads among instances: a request has the lock of its own process first, then the lease of all.

Beside them run (`SharedLocks.keep`): what gives signs of life, what hears who waits for what this process holds and
gives back what could not be given back at once, and what notes how much has reached the disk. None of them waits for
another one: a slow disk costs no lease that its holder still writes under.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ...db import DatabaseUnavailable
from ...errors import NotFound, PenstockError
from ..errors import Interrupted, Locked, WrongOffset
from .last_words import LastWords
from .leases import Lease, Wanted, new_token
from .locks import TAKEOVER, UploadLocks, spare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from ...clock import Clock
    from .fencing import BlobFences
    from .leases import Leases
    from .locks import Hold

log = structlog.get_logger(__name__)

_LOOK: Final = timedelta(milliseconds=100)
"""How often to look whether others wait for what this process holds."""
_LOOK_AROUND: Final = timedelta(seconds=1)
"""The same while it believes to hold nothing: an answer of the database may have been lost."""
_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.1
_BEATS: Final = 4
"""Signs of life for each length of a lease."""
_SILENT_LEASES: Final = 2
"""After how many lengths of a lease without a sign of life a holder is dead, whatever the database's clock says."""
_MOST_TO_GIVE_BACK: Final = 10_000
"""What is more than that, while the database is away, is given back when somebody asks for it."""


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
        self._tokens: set[int] = set()
        """Of what requests hold, or ask for: whatever else the database believes to be ours was left behind."""
        self._to_give_back: dict[int, Lease] = {}
        silence_seconds = _SILENT_LEASES * leases.lease.total_seconds()
        self._last_words, self._signs_of_life = [LastWords(silence_seconds, clock.monotonic) for _ in range(2)]
        self._writing: set[str] = set()
        self._something = asyncio.Event()
        self._elsewhere = asyncio.Event()
        """Whether there are instances on other machines."""

    def holder(self, upload_id: str) -> Hold | None:
        """Return who holds an upload's lock in this process."""
        return self._local.holder(upload_id)

    @asynccontextmanager
    async def hold(self, upload_id: str, *, ask: bool = True, offset: int | None = None) -> AsyncIterator[Hold]:
        """Hold an upload's lock; whoever holds it or waits for it, anywhere, is asked to stop.

        Without `ask`, nobody is: who finds it taken goes away.

        Raises:
            Locked: the holder did not let go in time.
            WrongOffset: the holder has got further than `offset` (`Locks.hold`).
            LeaseLost: another instance took it over, and has the last word.
            DatabaseUnavailable: nobody can tell who holds it.
        """
        if not ask and self._local.holder(upload_id) is not None:
            raise _locked(upload_id)
        ends_at = asyncio.get_running_loop().time() + self._takeover.total_seconds()
        async with self._local.hold(upload_id, offset=offset) as hold:
            token = new_token()
            self._tokens.add(token)
            try:
                lease = await self._take(Wanted(upload_id, token, ask=ask, offset=offset), hold, ends_at)
                async with self._holding(lease, hold):
                    yield hold
            finally:
                self._tokens.discard(token)

    @asynccontextmanager
    async def _holding(self, lease: Lease, hold: Hold) -> AsyncIterator[None]:
        """Have a lease while the context is open, and nobody write who had it before."""
        upload_id = lease.upload_id
        self._held[upload_id] = lease, hold
        self._leases.held[upload_id] = lease
        hold.confirm = lambda offset: self._writes(lease, offset)
        self._something.set()
        try:
            if lease.kept_bytes is not None:
                await self._fences.fence(lease, lambda: self._leases.confirm(lease))
                await self._leases.fenced(lease)
                lease = lease.alone
            yield
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
        """Return the uploads that dead instances were working on, also those whom only a clock believes."""
        return await self._leases.lapsed(self._signs_of_life.silent(await self._leases.last_words()))

    async def close(self) -> None:
        """Do what `UploadLocks.close` does."""
        await self._local.close()

    async def keep(self) -> None:
        """Run until cancelled: without this, the leases lapse."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(), name="lease-beat")
            group.create_task(self._listen(), name="lease-listen")
            group.create_task(self._publish(), name="lease-publish")

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

    async def _take(self, wanted: Wanted, hold: Hold, ends_at: float) -> Lease:
        now, pause = asyncio.get_running_loop().time, _FIRST_PAUSE_SECONDS
        dead: int | None = None
        while True:
            if wanted.ask and hold.asked is not None:
                raise hold.asked
            try:
                found = await self._leases.take(wanted, dead=dead)
            except NotFound:
                raise
            except BaseException:
                self._give_back_soon(Lease.in_doubt(wanted.upload_id, wanted.token))
                raise
            if isinstance(found, Lease):
                self._last_words.forget(wanted.upload_id)
                return found
            if wanted.offset is not None:
                spare(wanted.offset, found.kept_bytes)
            tried, dead = dead, self._last_words.heard(wanted.upload_id, found.alive_until)
            if dead is not None and dead != tried:
                continue  # also who does not wait takes it over from the dead
            if not wanted.ask or now() > ends_at:
                raise _locked(wanted.upload_id)
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
        if len(self._to_give_back) < _MOST_TO_GIVE_BACK:
            self._to_give_back[lease.token] = lease
            self._something.set()

    async def _give_back_all(self) -> None:
        for token, lease in list(self._to_give_back.items()):
            await self._leases.give_back(lease)
            self._to_give_back.pop(token, None)

    async def _beat(self) -> None:
        """Give signs of life, whatever else there is to do."""
        lease_seconds = self._leases.lease.total_seconds()
        loop = asyncio.get_running_loop()
        good_until = loop.time() + lease_seconds
        while True:
            began_at = loop.time()
            beating = asyncio.ensure_future(self._leases.beat())
            try:
                if not (await asyncio.wait([beating], timeout=lease_seconds))[0]:
                    self._stop_all()
                elsewhere = await beating
                good_until = began_at + lease_seconds
                (self._elsewhere.set if elsewhere else self._elsewhere.clear)()
            except DatabaseUnavailable as error:
                log.info("lease_not_renewed", error=str(error))
                if loop.time() > good_until:
                    self._stop_all()
            finally:
                beating.cancel()
            await self._clock.sleep(self._leases.lease / _BEATS)

    async def _publish(self) -> None:
        """Note how much of what is being written is on disk for certain: other machines see it no sooner."""
        while True:
            await self._elsewhere.wait()
            for upload_id in list(self._writing):
                await self._publish_one(upload_id)
            await self._clock.sleep(self._leases.lease / _BEATS)

    async def _publish_one(self, upload_id: str) -> None:
        held = self._held.get(upload_id)
        try:
            length = await self._fences.flushed(upload_id)
            # What another request has found on the disk says nothing of what this one leaves there.
            if length is not None and held is not None and self._held.get(upload_id) is held:
                await self._leases.writes(held[0], length)
        except PenstockError as error:
            log.info("offset_not_published", upload=upload_id, error=str(error))

    async def _listen(self) -> None:
        """Hear who waits: at once while there is anything to wait for, else now and then."""
        while True:
            if not self._held and not self._to_give_back:
                self._something.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AROUND.total_seconds()):
                        await self._something.wait()
            with suppress(DatabaseUnavailable):  # `_beat` sees to it
                await self._hear()
            await self._clock.sleep(_LOOK)

    async def _hear(self) -> None:
        """Give back what is to be given back, and hear who waits for the rest."""
        await self._give_back_all()
        for upload_id, token in await self._leases.asked():
            held = self._held.get(upload_id)
            if held is not None and held[0].token == token:
                held[1].ask(_taken_over(upload_id))
            elif token not in self._tokens:
                self._give_back_soon(Lease.in_doubt(upload_id, token))

    def _stop_all(self) -> None:
        for _lease, hold in list(self._held.values()):
            hold.ask(
                DatabaseUnavailable(
                    "the database has not answered for as long as an upload may be held without it. What arrived is "
                    "kept: continue when it is back."
                )
            )


def _taken_over(upload_id: str) -> Interrupted:
    return Interrupted(f"another request continues upload {upload_id}. Ask for the offset with HEAD before going on.")


def _locked(upload_id: str) -> Locked:
    return Locked(f"upload {upload_id}: another request is still writing its last bytes. Try again in a few seconds.")
