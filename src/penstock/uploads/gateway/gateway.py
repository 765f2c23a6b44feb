"""The storage side of postprocessing: announces complete uploads, and does with their bytes what is decided.

The gateway is told what is to be done, or hears it on the bus (`heard`); `deeds` does it, one thing at a time with each
upload.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from ...blobs.handover import SupportsHandovers
from ...events.types import PostprocessingFinished
from ...tracing import UNTRACED, Tracing
from ..locking.locks import UploadLocks
from ..locking.turns import Turns
from ..upload import Phase, Upload
from .at_once import AtOnce
from .begun import Begun
from .deeds import Deeds
from .heard import CONSUMED, Heard, is_release
from .left_undone import LeftUndone, later, no_wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
    from datetime import timedelta

    from ...blobs.base import BlobStore
    from ...bus.base import Bus
    from ...bus.publish import Publisher
    from ...clock import Clock
    from ...events.types import Envelope
    from ...store.base import ProgressStore
    from ..catalogue.catalogue import Catalogue
    from ..catalogue.quarantine import Doer
    from ..locking.locks import Locks
    from .at_once import Foresee
    from .last_bytes import LastBytes

GROUP: Final = "dcfs"
"""The storage provider's group on the bus, as in the Go services."""


class Gateway:
    """Begins and ends the postprocessing of uploads.

    Args:
        catalogue: knows all uploads.
        blobs: keeps their bytes.
        bus: where decisions come from.
        publisher: publishes to the same bus.
        clock: dates changes.
        tracing: is told of each beginning and end.
        records: those of the coordinator; None: they cannot be seen from here.
        room: waits until what is announced is handled for the most part.
        locks: keep other instances from the same upload; None: there are none.
        foresee: tells which uploads are to be released as soon as they are there (`at_once`), where a release copies
            nothing and nobody else listens to the bus; None: whatever is decided is heard there.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        bus: Bus,
        publisher: Publisher,
        clock: Clock,
        tracing: Tracing = UNTRACED,
        records: ProgressStore | None = None,
        room: Callable[[], Awaitable[None]] = no_wait,
        locks: Locks | None = None,
        foresee: Foresee | None = None,
    ) -> None:
        self._locks = UploadLocks() if locks is None else locks
        self._catalogue = catalogue
        self._bus = bus
        self._copies = isinstance(blobs, SupportsHandovers)
        self._publisher = publisher
        self._at_once = None
        if foresee is not None:
            self._at_once = AtOnce(foresee, catalogue=catalogue, blobs=blobs, clock=clock, tracing=tracing)
        self._deeds = Deeds(
            catalogue=catalogue,
            blobs=blobs,
            publisher=publisher,
            clock=clock,
            tracing=tracing,
            alone=not self._locks.shared,
            at_once=self._at_once,
        )
        self._turns = Turns()
        self._heard = Heard(catalogue=catalogue, deeds=self._deeds, turns=self._turns, tracing=tracing)
        self._left_undone = LeftUndone(
            catalogue=catalogue,
            deeds=self._deeds,
            turns=self._turns,
            memory=bus.memory,
            clock=clock,
            begun=Begun(records),
            room=room,
            complete=self.complete,
            withdraw=self.withdraw,
            is_held=lambda upload_id: self._locks.holder(upload_id) is not None,
        )

    @asynccontextmanager
    async def subscribe(self, *, workers: int = 64) -> AsyncIterator[None]:
        """Handle events while the returned context is open.

        Workers mostly wait for the disk, and all for the same flush, so there are many. Where a release copies, it may
        take hours: as many more are for nothing else, and hold up no other decision, nor what steps say.
        """
        subscribe = partial(self._bus.subscribe, GROUP, handler=self.handle, workers=workers)
        apart = False
        async with AsyncExitStack() as stack:
            stack.enter_context(self._publisher.heard_first(self._heard.keep_explanation))
            # What comes before the others are there is for somebody as well.
            everything_else = subscribe(CONSUMED, only=lambda envelope: not (apart and is_release(envelope)))
            await stack.enter_async_context(everything_else)
            if self._copies:
                await stack.enter_async_context(subscribe([PostprocessingFinished], only=is_release))
                apart = True
            yield

    async def handle(self, envelope: Envelope) -> None:
        """Handle one event from the bus. Returning means that it is done for good.

        Events about one upload are handled one after the other, as they came: so what a step said is known when the
        upload is ended for it.

        Raises:
            DatabaseUnavailable, BlobUnavailable, BusUnavailable: it is not done; the event must come again.
        """
        await self._heard.handle(envelope)

    def releases_at_once(self, upload: Upload) -> bool:
        """Tell whether an upload is to be released as soon as it is there, as far as that is known before."""
        return self._at_once is not None and self._at_once.is_for(upload)

    async def received(self, upload: Upload, *, size_bytes: int, last: LastBytes | None = None) -> Upload:
        """Note that all bytes are there and flushed to disk, and begin postprocessing; return the upload as it is then.

        However often it is called, and whoever else does, postprocessing begins once. When this returns the upload
        will be processed, also if the bus is not there and whatever is killed. `upload` is as it was read last: if it
        was given up, or begun, meanwhile, it stays so. `last`: what is not on disk yet, and is put there before; for
        an upload that `releases_at_once`.

        Raises:
            NotFound: there is no such upload.
            StorageFull, BlobUnavailable: the last bytes may not be on disk; nothing was begun.
        """
        async with self._turns.of(upload.id):
            return await self._deeds.begin(upload, size_bytes, last)

    async def complete(self, upload_id: str, *, ask: bool = True) -> Upload:
        """Begin the processing of an upload if all of it is there, or of its parts; return it as it is then.

        One that is made of parts is put together before. However often this is called, and whoever else does, it is
        done once; what is interrupted is done anew. Another instance that works on it is asked to stop, unless
        not to `ask`.

        Raises:
            NotFound: there is no such upload.
            BlobMissing, StorageFull, BlobUnavailable: it was not done, and may be later.
        """
        async with self._locks.alone(upload_id, ask=ask), self._turns.of(upload_id):
            upload = await self._deeds.get(upload_id)
            if upload.phase is Phase.RECEIVING and await self._deeds.all_there(upload):
                return await self._deeds.complete(upload)
            return upload

    async def restart(self, upload_id: str, *, cause: str = "") -> Upload:
        """Run all steps of an upload again, from the first; return it as it is then.

        `cause` is the event that asks for it; the same one asks only once.

        Raises:
            NotFound: there is no such upload.
            InvalidRequest: its bytes are not all there, are gone, or are released.
        """
        async with self._turns.of(upload_id):
            return await self._deeds.begin_again(await self._deeds.get(upload_id), cause)

    async def cancel(self, upload_id: str, *, only_in: Collection[Phase] | None = None) -> None:
        """Give an upload up: its bytes are freed, its processing ends. Again does no harm.

        When this returns nobody can read it any more. Bytes that the storage does not remove right now are removed
        later. None: whatever its phase.

        Raises:
            NotFound: there is no such upload.
            InvalidRequest: it has bytes, and is in none of the phases `only_in`.
        """
        if self._deeds.is_releasing(upload_id):  # nobody is to wait for that
            await self._deeds.cancel(await self._deeds.get(upload_id), only_in)
            if self._deeds.is_releasing(upload_id):
                return
        async with self._turns.of(upload_id):
            upload = await self._deeds.cancel(await self._deeds.get(upload_id), only_in)
            with later(upload):
                await self._deeds.give_up(upload)

    async def release_from_quarantine(self, upload_id: str, doer: Doer) -> Upload:
        """Let through what is in quarantine; return the upload. The log says who did it, and why.

        Raises:
            NotFound: there is no such upload.
            InvalidRequest: it is not in quarantine, or no reason is given.
            FileThere, OtherVersion: its proviso does not hold (RFC 9110, 13); it stays in quarantine.
            BlobMissing: its bytes are gone.
            BusUnavailable: nothing was changed.
            Locked: another instance is doing something with it.
        """
        async with self._locks.alone(upload_id), self._turns.of(upload_id):
            return await self._deeds.release_from_quarantine(await self._deeds.get(upload_id), doer)

    async def delete_from_quarantine(self, upload_id: str, doer: Doer) -> Upload:
        """Remove what is in quarantine, for good; return the upload. The log says who did it.

        Raises:
            NotFound: there is no such upload.
            InvalidRequest: it is not in quarantine.
        """
        async with self._turns.of(upload_id):
            return await self._deeds.delete_from_quarantine(await self._deeds.get(upload_id), doer)

    async def withdraw(self, upload_id: str) -> bool:
        """Remove from the final place what a release that came to nothing has left of a rejected upload.

        Returns whether the upload is rejected, and so nothing of it is there any more. It stays staged.

        Raises:
            NotFound: there is no such upload.
            Locked: another instance is doing something with it.
            BlobMissing, BlobUnavailable: it may be there.
        """
        async with self._locks.alone(upload_id, ask=False), self._turns.of(upload_id):
            return await self._deeds.withdraw(await self._deeds.get(upload_id))

    async def expire(self, upload: Upload, *, dry_run: bool = False) -> bool:
        """Give an upload up because its time is over; return whether it was, or (`dry_run`) would be.

        One whose bytes have all arrived is completed instead: who sent them could not know better; unless its client
        was to say that this is all. A part stays while something is still to be put together of it and others that are
        all there. One that was completed or removed meanwhile is left alone.
        """
        async with self._turns.of(upload.id):
            present = await self._catalogue.get(upload.id)
            if present is None or present.phase is not Phase.RECEIVING or await self._is_needed(present):
                return False
            complete = await self._deeds.all_there(present)
            if dry_run:
                return not complete
            if complete:
                await self._deeds.complete(present)
                return False
            expired = await self._deeds.expire(present)
            if expired is None:
                return False
            with later(expired):
                await self._deeds.give_up(expired)
            return True

    async def _is_needed(self, upload: Upload) -> bool:
        """Tell whether this is a part of what only has to be put together, once there is room for it or time."""
        finals = await self._catalogue.waiting_finals(upload.id) if upload.is_part else []
        return any([await self._deeds.all_there(final) for final in finals])

    async def reconcile(self) -> None:
        """Do what a death may have left undone: to be called at start, once the bus has its subscribers.

        Where many uploads are on their way in or in processing, most of them are left to the next `catch_up`, and so is
        what has to be put together from parts, which may take long.
        """
        if not self._locks.shared:  # otherwise others are at work: whoever leads looks at what the dead have left
            await self._left_undone.begin()

    async def inherit(self, upload_ids: Sequence[str]) -> None:
        """Do what the death of another instance may have left undone with uploads that it was working on."""
        await self._left_undone.inherit(upload_ids)

    async def catch_up(self, *, patience: timedelta | None = None) -> None:
        """Say what the bus would not take, or has lost since, and remove bytes that could not be removed.

        After `patience` the rest is left for the next time.
        """
        await self._left_undone.catch_up(patience=patience)
