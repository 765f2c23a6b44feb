"""The storage side of postprocessing: announces complete uploads, and does with their bytes what is decided.

Every action is a change in the catalogue and a deed on the blob, in the order that a crash in between can be healed by
doing the same again: bytes are released before the catalogue says so, and given up in the catalogue before they are
removed. Every event may come twice; the second time finds the work done, and only says again what follows from it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ..blobs.base import BlobMissing, SupportsPath
from ..core.emit import error_of
from ..errors import InvalidRequest, NotFound
from ..events.types import (
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    Event,
    Outcome,
    PostprocessingFinished,
    PostprocessingStepFinished,
    Reference,
    ResourceId,
    RestartPostprocessing,
    UploadReady,
    VirusscanResult,
)
from ..ids import derived_id
from .runs import decides_earlier_run, run_id
from .upload import Phase, ScanMark, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from ..blobs.base import BlobStore
    from ..bus.base import Bus
    from ..bus.publish import Publisher
    from ..clock import Clock
    from .catalogue import Catalogue

log = structlog.get_logger(__name__)

GROUP: Final = "dcfs"
"""The storage provider's group on the bus, as in the Go services."""
CONSUMED: Final[tuple[type[Event], ...]] = (PostprocessingFinished, PostprocessingStepFinished, RestartPostprocessing)
_PAGE: Final = 500


class Gateway:
    """Begins and ends the postprocessing of uploads."""

    def __init__(self, *, catalogue: Catalogue, blobs: BlobStore, bus: Bus, publisher: Publisher, clock: Clock) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._bus = bus
        self._publisher = publisher
        self._clock = clock
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    def subscribe(self, *, workers: int = 8) -> AbstractAsyncContextManager[None]:
        """Handle events, at most `workers` at a time, while the returned context is open."""
        return self._bus.subscribe(GROUP, CONSUMED, self.handle, workers=workers)

    async def handle(self, envelope: Envelope) -> None:
        """Handle one event from the bus. Returning means that it is done for good.

        Events about one upload are handled one after the other, as they came: so what a step said is known when its
        upload is ended for it.
        """
        async with self._turn(envelope.event.upload_id):
            await self._handle(envelope)

    async def _handle(self, envelope: Envelope) -> None:
        match envelope.event:
            case PostprocessingFinished() as decided:
                await self._carry_out(decided, envelope)
            case PostprocessingStepFinished() as finished:
                await self._note_result(finished)
            case RestartPostprocessing(upload_id=upload_id):
                try:
                    await self.restart(upload_id, cause=envelope.event_id)
                except InvalidRequest as error:
                    log.info("restart_refused", upload=upload_id, reason=str(error))

    async def received(self, upload_id: str, *, size_bytes: int) -> Upload:
        """Note that all bytes are there and flushed to disk, and begin postprocessing; return the upload.

        When this returns or dies after the note, the upload will be processed: at start, whatever is in processing is
        announced again.

        Raises:
            NotFound: there is no such upload.
        """
        upload = await self._get(upload_id)
        if upload.phase is Phase.RECEIVING:
            complete = msgspec.structs.replace(
                upload, phase=Phase.PROCESSING, run=1, size_bytes=size_bytes, received_at=self._clock.now()
            )
            if not await self._catalogue.change(upload, complete):
                return await self._get(upload_id)
            upload = complete
            await self._announce(upload)
        return upload

    async def restart(self, upload_id: str, *, cause: str = "") -> Upload:
        """Run all steps of an upload again, from the first.

        `cause` is the event that asks for it; the same one asks only once.

        Raises:
            NotFound: there is no such upload.
            InvalidRequest: its bytes are not all there, are gone, or are released.
        """
        upload = await self._get(upload_id)
        if upload.phase not in (Phase.PROCESSING, Phase.REJECTED):
            raise InvalidRequest(f"upload {upload_id} is {upload.phase}; only one in processing or rejected can")
        if cause and await self._catalogue.caused_by(upload_id) == cause:
            await self._announce(upload)
            return upload
        again = msgspec.structs.replace(
            upload, phase=Phase.PROCESSING, run=upload.run + 1, outcome="", reason="", ended_at=None
        )
        if await self._catalogue.change(upload, again, cause=cause):
            await self._announce(again)
        return again

    async def cancel(self, upload_id: str) -> None:
        """Give an upload up, whatever its phase: its bytes are freed, its processing ends.

        Raises:
            NotFound: there is no such upload.
        """
        while (upload := await self._get(upload_id)).phase.holds_bytes:
            gone = msgspec.structs.replace(upload, phase=Phase.CANCELLED, ended_at=self._clock.now())
            if await self._catalogue.change(upload, gone):
                break
        await self.give_up(upload_id)

    async def expire(self, upload: Upload) -> bool:
        """Give an unfinished upload up because its time is over; return False if it was completed meanwhile."""
        gone = msgspec.structs.replace(
            upload, phase=Phase.EXPIRED, ended_at=self._clock.now(), reason="not complete in time"
        )
        changed = await self._catalogue.change(upload, gone)
        if changed:
            await self.give_up(upload.id)
        return changed

    async def give_up(self, upload_id: str) -> None:
        """Remove the bytes of an upload that the catalogue has given up, and end its processing."""
        await self._blobs.discard(upload_id)
        await self._catalogue.discarded(upload_id)
        await self._forget(upload_id)

    async def reconcile(self) -> None:
        """Do what a crash may have left undone: to be called at start, once the bus has its subscribers."""
        async for upload in self._all_in(Phase.RECEIVING):
            await self._complete_if_all_there(upload)
        announced = await self.announce_all(received_before=self._clock.now())
        async for batch in self._catalogue.to_discard():
            for upload in batch:
                await self.give_up(upload.id)
        if announced:
            log.info("uploads_in_processing_announced", uploads=announced)

    async def announce_all(self, *, received_before: datetime) -> int:
        """Announce again the uploads in processing whose bytes were there by then; return how many there are.

        What the coordinator knows, it recognises. It may not know an upload whose announcement the bus refused.
        """
        announced = 0
        async for upload in self._all_in(Phase.PROCESSING):
            if upload.received_at is None or upload.received_at <= received_before:
                await self._announce(upload)
                announced += 1
        return announced

    @asynccontextmanager
    async def _turn(self, upload_id: str) -> AsyncIterator[None]:
        lock, users = self._turns.get(upload_id, (asyncio.Lock(), 0))
        self._turns[upload_id] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns.pop(upload_id)
            if users > 1:
                self._turns[upload_id] = (lock, users - 1)

    async def _complete_if_all_there(self, upload: Upload) -> None:
        try:
            length = await self._blobs.length(upload.id)
        except BlobMissing:
            return
        if upload.size_bytes is not None and length == upload.size_bytes:
            await self.received(upload.id, size_bytes=await self._blobs.seal(upload.id))

    async def _all_in(self, phase: Phase) -> AsyncIterator[Upload]:
        """Yield the uploads that are in a phase, in pages, so that none of them may change what is yielded next."""
        cursor = None
        while True:
            page = await self._catalogue.list(phases=[phase], limit=_PAGE, cursor=cursor)
            for upload in page.uploads:
                yield upload
            cursor = page.next
            if cursor is None:
                return

    async def _carry_out(self, decided: PostprocessingFinished, envelope: Envelope) -> None:
        upload = await self._catalogue.get(decided.upload_id)
        if upload is None or upload.phase in (Phase.CANCELLED, Phase.EXPIRED):
            await self._forget(decided.upload_id)
            return
        if decides_earlier_run(envelope.event_id, upload.id, upload.run):
            log.info("decision_of_earlier_run_dropped", upload=upload.id)
            return
        if upload.phase is Phase.PROCESSING:
            upload = await self._end(upload, decided)
        await self._confirm(upload, decided, envelope)

    async def _end(self, upload: Upload, decided: PostprocessingFinished) -> Upload:
        """Release, reject or delete."""
        try:
            phase = _PHASES.get(decided.outcome, Phase.REJECTED)
            if phase is Phase.RELEASED:
                await self._blobs.release(upload.id)
        except BlobMissing:
            log.exception("bytes_missing_at_release", upload=upload.id)
            phase = Phase.DELETED
            upload = msgspec.structs.replace(upload, reason="its bytes were gone when it was to be released")
        ended = msgspec.structs.replace(
            upload,
            phase=phase,
            outcome=decided.outcome,
            reason="" if phase is Phase.RELEASED else upload.reason or _reason(decided.outcome),
            ended_at=self._clock.now(),
        )
        if not await self._catalogue.change(upload, ended):
            return await self._get(upload.id)
        log.info("upload_ended", upload=upload.id, phase=phase, outcome=decided.outcome, reason=ended.reason)
        if phase is Phase.DELETED:
            await self._blobs.discard(upload.id)
            await self._catalogue.discarded(upload.id)
        return ended

    async def _confirm(self, upload: Upload, decided: PostprocessingFinished, envelope: Envelope) -> None:
        """Tell everybody what became of the upload; the coordinator then lets go of it."""
        if upload.phase is Phase.DELETED:
            await self._blobs.discard(upload.id)  # a crash may have come in between
            await self._catalogue.discarded(upload.id)
        failed = upload.phase is not Phase.RELEASED
        ready = UploadReady(
            upload_id=upload.id,
            filename=upload.filename,
            executing_user=decided.executing_user,
            impersonating_user=decided.impersonating_user,
            file_ref=Reference(resource_id=ResourceId(space_id=upload.space), path=f"./{upload.filename}"),
            failed=failed,
        )
        await self._publisher.publish(
            ready,
            event_id=derived_id(envelope.event_id, "ready"),
            causation_id=envelope.event_id,
            initiator_id=upload.initiator_id,
        )
        if upload.phase is Phase.DELETED:
            await self._forget(upload.id)

    async def _note_result(self, finished: PostprocessingStepFinished) -> None:
        if isinstance(finished.result, VirusscanResult):
            result = finished.result
            mark = ScanMark(
                infected=result.infected,
                signature=result.description,
                scanned_at=result.scandate,
                error=result.error_message,
            )
            await self._catalogue.mark_scan(finished.upload_id, mark)
        reason = error_of(finished)
        if reason and finished.outcome in (Outcome.ABORT, Outcome.DELETE, Outcome.RETRY):
            await self._catalogue.explain(finished.upload_id, reason)

    async def _announce(self, upload: Upload) -> None:
        path = self._blobs.path(upload.id) if isinstance(self._blobs, SupportsPath) else None
        event = BytesReceived(
            upload_id=upload.id,
            resource_id=ResourceId(opaque_id=upload.id, space_id=upload.space),
            filename=upload.filename,
            filesize=upload.size_bytes or 0,
            url="" if path is None else path.absolute().as_uri(),
        )
        await self._publisher.publish(event, event_id=run_id(upload.id, upload.run), initiator_id=upload.initiator_id)

    async def _forget(self, upload_id: str) -> None:
        """Have the coordinator drop its record, and steps stop their work."""
        cancel = CancelPostprocessing(upload_id=upload_id)
        await self._publisher.publish(cancel, event_id=derived_id(upload_id, "cancel"))

    async def _get(self, upload_id: str) -> Upload:
        upload = await self._catalogue.get(upload_id)
        if upload is None:
            raise NotFound(f"there is no upload {upload_id!r}")
        return upload


_PHASES: Final = {Outcome.CONTINUE.value: Phase.RELEASED, Outcome.DELETE.value: Phase.DELETED}


def _reason(outcome: str) -> str:
    return f"its steps ended with {outcome!r}"
