"""The storage side of postprocessing: announces complete uploads, and does with their bytes what is decided.

The gateway chooses what is to be done, one thing at a time with each upload; `deeds` does it. Every event may come
twice: the second time finds the work done, and only says again what follows from it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ..errors import InvalidRequest, PenstockError
from ..events.types import (
    Envelope,
    Event,
    PostprocessingFinished,
    PostprocessingRetry,
    PostprocessingStepFinished,
    RestartPostprocessing,
    StartPostprocessingStep,
)
from ..ids import is_upload_id
from ..tracing import UNTRACED, Tracing
from .deeds import Deeds
from .locks import UploadLocks
from .runs import decides_earlier_run
from .turns import Turns
from .upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from ..blobs.base import BlobStore
    from ..bus.base import Bus
    from ..bus.publish import Publisher
    from ..clock import Clock
    from .catalogue import Catalogue
    from .locks import Locks
    from .quarantine import Doer

log = structlog.get_logger(__name__)

GROUP: Final = "dcfs"
"""The storage provider's group on the bus, as in the Go services."""
CONSUMED: Final[tuple[type[Event], ...]] = (
    PostprocessingFinished,
    PostprocessingRetry,
    PostprocessingStepFinished,
    RestartPostprocessing,
    StartPostprocessingStep,
)
_PAGE: Final = 500
_START: Final = timedelta(seconds=1)
"""How long a start is held up by announcing."""
_STRETCH: Final = 32
"""Uploads that are announced before there has to be room for more."""


async def _at_once() -> None:
    """Wait for nothing."""


class Gateway:
    """Begins and ends the postprocessing of uploads.

    Args:
        catalogue: knows all uploads.
        blobs: keeps their bytes.
        bus: where decisions come from.
        publisher: publishes to the same bus.
        clock: dates changes.
        tracing: is told of each beginning and end.
        room: waits until what is announced is handled for the most part.
        locks: keep other instances from the same upload; None: there are none.
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
        room: Callable[[], Awaitable[None]] = _at_once,
        locks: Locks | None = None,
    ) -> None:
        self._locks = UploadLocks() if locks is None else locks
        self._catalogue = catalogue
        self._bus = bus
        self._clock = clock
        self._room = room
        self._publisher = publisher
        self._tracing = tracing
        self._deeds = Deeds(
            catalogue=catalogue,
            blobs=blobs,
            publisher=publisher,
            clock=clock,
            tracing=tracing,
            alone=not self._locks.shared,
        )
        self._turns = Turns()
        self._memory_began_at = bus.memory.begins_at

    @asynccontextmanager
    async def subscribe(self, *, workers: int = 64) -> AsyncIterator[None]:
        """Handle events while the returned context is open.

        Workers mostly wait for the disk, and all for the same flush, so there are many.
        """
        with self._publisher.heard_first(self._keep_explanation):
            async with self._bus.subscribe(GROUP, CONSUMED, self.handle, workers=workers):
                yield

    async def handle(self, envelope: Envelope) -> None:
        """Handle one event from the bus. Returning means that it is done for good.

        Events about one upload are handled one after the other, as they came: so what a step said is known when the
        upload is ended for it.

        Raises:
            DatabaseUnavailable, BlobUnavailable, BusUnavailable: it is not done; the event must come again.
        """
        upload_id: str = envelope.event.upload_id
        if not is_upload_id(upload_id):
            return  # another storage's, or a scan on demand
        async with self._turns.of(upload_id):
            upload = await self._catalogue.get(upload_id)
            if upload is None or not upload.phase.holds_bytes:
                await self._turn_away(upload, envelope)
            else:
                await self._handle(upload, envelope)

    async def received(self, upload: Upload, *, size_bytes: int) -> Upload:
        """Note that all bytes are there and flushed to disk, and begin postprocessing; return the upload as it is then.

        However often it is called, and whoever else does, postprocessing begins once. When this returns the upload
        will be processed, also if the bus is not there and whatever is killed. `upload` is as it was read last: if it
        was given up, or begun, meanwhile, it stays so.

        Raises:
            NotFound: there is no such upload.
        """
        async with self._turns.of(upload.id):
            return await self._deeds.begin(upload, size_bytes)

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

    async def cancel(self, upload_id: str) -> None:
        """Give an upload up, whatever its phase: its bytes are freed, its processing ends. Again does no harm.

        When this returns nobody can read it any more. Bytes that the storage does not remove right now are removed
        later.

        Raises:
            NotFound: there is no such upload.
        """
        async with self._turns.of(upload_id):
            upload = await self._deeds.cancel(await self._deeds.get(upload_id))
            with _later(upload):
                await self._deeds.give_up(upload)

    async def release_from_quarantine(self, upload_id: str, doer: Doer) -> Upload:
        """Let through what is in quarantine; return the upload. The log says who did it, and why.

        Raises:
            NotFound: there is no such upload.
            InvalidRequest: it is not in quarantine, or no reason is given.
            BlobMissing: its bytes are gone.
            BusUnavailable: nothing was changed.
        """
        async with self._turns.of(upload_id):
            return await self._deeds.release_from_quarantine(await self._deeds.get(upload_id), doer)

    async def delete_from_quarantine(self, upload_id: str, doer: Doer) -> Upload:
        """Remove what is in quarantine, for good; return the upload. The log says who did it.

        Raises:
            NotFound: there is no such upload.
            InvalidRequest: it is not in quarantine.
        """
        async with self._turns.of(upload_id):
            return await self._deeds.delete_from_quarantine(await self._deeds.get(upload_id), doer)

    async def expire(self, upload: Upload, *, dry_run: bool = False) -> bool:
        """Give an upload up because its time is over; return whether it was, or (`dry_run`) would be.

        One whose bytes have all arrived is completed instead: who sent them could not know better. One that was
        completed or removed meanwhile is left alone.
        """
        async with self._turns.of(upload.id):
            present = await self._catalogue.get(upload.id)
            if present is None or present.phase is not Phase.RECEIVING:
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
            with _later(expired):
                await self._deeds.give_up(expired)
            return True

    async def reconcile(self) -> None:
        """Do what a death may have left undone: to be called at start, once the bus has its subscribers.

        Where many uploads are in processing, most of them are left to the next `catch_up`, and so is what has to be put
        together from parts, which may take long.
        """
        if self._locks.shared:
            return  # others are at work: whoever leads looks at what the dead have left
        async for upload in self._all_in(Phase.RECEIVING):
            if not upload.parts:
                with _later(upload):
                    await self.complete(upload.id)
        await self.catch_up(patience=_START)

    async def inherit(self, upload_ids: Sequence[str]) -> None:
        """Do what the death of another instance may have left undone with uploads that it was working on."""
        for upload in (await self._catalogue.get_many(upload_ids)).values():
            with _later(upload):
                await self.complete(upload.id, ask=False)

    async def catch_up(self, *, patience: timedelta | None = None) -> None:
        """Say what the bus would not take, or has lost since, and remove bytes that could not be removed.

        After `patience` the rest is left for the next time.
        """
        ends_at = None if patience is None else self._clock.monotonic() + patience.total_seconds()
        if self._bus.memory.begins_at != self._memory_began_at:
            self._memory_began_at = self._bus.memory.begins_at
            self._deeds.forget_announcements()
        if ends_at is None:
            await self._complete_finals()
        announced = 0
        async for upload in self._all_in(Phase.PROCESSING):
            if self._deeds.announced(upload):
                continue
            if ends_at is not None and self._clock.monotonic() > ends_at:
                break
            async with self._turns.of(upload.id):
                with _later(upload):
                    announced += await self._announce(upload.id)
            if announced % _STRETCH == 0:
                await self._room()
        async for batch in self._catalogue.to_discard():
            for upload in batch:
                async with self._turns.of(upload.id):
                    with _later(upload):
                        await self._deeds.give_up(upload)
        if announced:
            log.info("uploads_in_processing_announced", uploads=announced)

    async def _complete_finals(self) -> None:
        for final in await self._catalogue.waiting_finals():
            with _later(final):
                await self.complete(final.id)

    async def _keep_explanation(self, envelope: Envelope) -> None:
        """Keep why a step of this process does not let an upload pass, before anybody acts on that.

        The coordinator may decide on the answer, and the process die, before the bus has brought it to us. Then the
        decision is said again, but not the answer.
        """
        event = envelope.event
        if isinstance(event, PostprocessingStepFinished) and is_upload_id(event.upload_id):
            upload = await self._catalogue.get(event.upload_id)
            if upload is not None and upload.phase is Phase.PROCESSING:
                await self._deeds.recorder.explained(upload, event, envelope)

    # --- one upload, in its turn --------------------------------------------------------------------------------------

    async def _handle(self, upload: Upload, envelope: Envelope) -> None:
        recorder, in_processing = self._deeds.recorder, upload.phase is Phase.PROCESSING
        match envelope.event:
            case PostprocessingFinished() as decided:
                parent = envelope.trace_parent or upload.trace_parent
                with self._tracing.span("upload decided", parent, upload_id=upload.id, outcome=decided.outcome):
                    await self._carry_out(upload, decided, envelope.event_id)
            case PostprocessingStepFinished() as finished if in_processing:
                await recorder.answered(upload, finished, envelope)
            case PostprocessingStepFinished() as finished if upload.phase.ended:
                await self._deeds.explain(upload, finished, envelope)
            case StartPostprocessingStep() as start if in_processing:
                await recorder.started(upload, start, envelope)
            case PostprocessingRetry() as retry if in_processing:
                await recorder.retried(upload, retry, envelope)
            case RestartPostprocessing():
                try:
                    await self._deeds.begin_again(upload, envelope.event_id)
                except InvalidRequest as error:
                    log.info("restart_refused", upload=upload.id, reason=str(error))
            case _:
                pass  # late news about what has ended

    async def _carry_out(self, upload: Upload, decided: PostprocessingFinished, decision_id: str) -> None:
        if upload.phase is Phase.RECEIVING or decides_earlier_run(decision_id, upload.id, upload.run):
            log.info("decision_is_about_another_run", upload=upload.id, run=upload.run, outcome=decided.outcome)
            return
        if upload.phase is Phase.PROCESSING:
            upload = await self._deeds.end(upload, decided)
        if upload.phase.holds_bytes:
            await self._deeds.confirm(upload, decided, decision_id)
        else:
            await self._deeds.give_up(upload, decided, decision_id)

    async def _turn_away(self, upload: Upload | None, envelope: Envelope) -> None:
        """Answer who still works on an upload that has no bytes, or that nobody knows."""
        upload_id: str = envelope.event.upload_id
        match envelope.event:
            case PostprocessingFinished() as decided if upload is not None and upload.phase is Phase.DELETED:
                await self._deeds.give_up(upload, decided, envelope.event_id)
            case PostprocessingStepFinished() as finished if upload is not None and upload.phase is Phase.DELETED:
                await self._deeds.explain(upload, finished, envelope)
            case PostprocessingFinished() | StartPostprocessingStep() | PostprocessingRetry():
                log.info("postprocessing_of_nothing_cancelled", upload=upload_id, event_type=envelope.event_type)
                await self._deeds.refuse(upload_id, envelope.event_id)
            case _:
                pass  # the coordinator will say something as well

    async def _announce(self, upload_id: str) -> bool:
        upload = await self._catalogue.get(upload_id)  # it may have ended while we waited
        if upload is None or upload.phase is not Phase.PROCESSING:
            return False
        return self._deeds.announced(await self._deeds.announce(upload))

    async def _all_in(self, phase: Phase) -> AsyncIterator[Upload]:
        """Yield the uploads that are in a phase, the newest first, also while they change."""
        cursor: str | None = None
        while True:
            page = await self._catalogue.list(phases=[phase], limit=_PAGE, cursor=cursor)
            for upload in page.uploads:
                yield upload
            cursor = page.next
            if cursor is None:
                return


@contextmanager
def _later(upload: Upload) -> Iterator[None]:
    """Leave what does not work now for the next time, so that one upload holds up no others."""
    try:
        yield
    except PenstockError as error:
        log.warning("upload_left_for_later", upload=upload.id, phase=upload.phase, error=str(error))
