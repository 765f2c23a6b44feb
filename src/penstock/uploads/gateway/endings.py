"""How uploads end: they are released, kept aside, or given up, with what follows from that for their bytes.

The order of the steps, and what a death between them leaves, is told in `deeds`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ...blobs.base import BlobMissing
from ...bus.base import BusUnavailable
from ...errors import InvalidRequest, NotFound, PenstockError, Unavailable
from ...events.types import Outcome, PostprocessingFinished, PostprocessingStepFinished
from ...ids import derived_id
from ..catalogue.quarantine import in_quarantine
from ..file_errors import UNMET
from ..upload import Phase, Upload
from . import notices
from .recorder import Recorder, explained_by, unexplained

if TYPE_CHECKING:
    from collections.abc import Collection

    from ...blobs.base import BlobStore
    from ...bus.publish import Publisher
    from ...clock import Clock
    from ...core.emit import Emit
    from ...events.types import Envelope
    from ..catalogue.catalogue import Catalogue
    from ..catalogue.quarantine import Doer

log = structlog.get_logger(__name__)

_PHASES: Final = {Outcome.CONTINUE.value: Phase.RELEASED, Outcome.DELETE.value: Phase.DELETED}
"""What follows from a decision; from any other one, `abort` included, that the bytes are kept and not let through."""


class Endings:
    """Ends uploads. Callers see to it that nobody else in this process works on the same upload meanwhile.

    Args:
        catalogue: knows all uploads.
        blobs: keeps their bytes.
        publisher: speaks on the bus.
        clock: dates changes.
        alone: whether no other instance writes down what steps do.
    """

    def __init__(
        self, *, catalogue: Catalogue, blobs: BlobStore, publisher: Publisher, clock: Clock, alone: bool
    ) -> None:
        self.recorder = Recorder(catalogue, clock, alone=alone)
        self._catalogue = catalogue
        self._blobs = blobs
        self._publisher = publisher
        self._clock = clock
        self._alone = alone
        self._announced: dict[str, int] = {}
        """Runs whose beginning the bus has taken from this process, or the coordinator has a record of, by upload."""
        self._releasing: set[str] = set()

    async def get(self, upload_id: str) -> Upload:
        """Return one upload.

        Raises:
            NotFound: there is no such upload.
        """
        upload = await self._catalogue.get(upload_id)
        if upload is None:
            raise NotFound(f"there is no upload {upload_id[:64]!r}")
        return upload

    def is_releasing(self, upload_id: str) -> bool:
        """Tell whether the bytes of an upload are on their way to their final place, for a decision.

        That may take hours. Who does it looks at the upload afterwards, and gives it up if somebody has cancelled it.
        """
        return upload_id in self._releasing

    async def end(self, upload: Upload, decided: PostprocessingFinished) -> Upload:
        """Release or reject an upload, or mark it deleted; return it."""
        phase = _PHASES.get(decided.outcome, Phase.REJECTED)
        if phase is Phase.RELEASED:
            return await self._release(upload, decided.outcome)
        reason = upload.reason or unexplained(decided.outcome)
        ended = await self._end(
            upload, msgspec.structs.replace(upload, phase=phase, outcome=decided.outcome, reason=reason)
        )
        if upload.run > 1:  # an earlier run may have been about to release it when something died
            await self._withdraw(ended)
        return ended

    async def _release(self, upload: Upload, outcome: str) -> Upload:
        """Have an upload be the file at its path; return it. One whose proviso does not hold keeps its bytes aside."""
        released = msgspec.structs.replace(upload, phase=Phase.RELEASED, outcome=outcome, reason="")
        try:
            if upload.proviso is not None:  # nothing is copied in vain
                await self._catalogue.check_proviso(upload)
            self._releasing.add(upload.id)
            try:
                await self._blobs.release(upload.id)
            finally:
                self._releasing.remove(upload.id)
            ended = await self._end(upload, released)
        except BlobMissing:
            return await self._reject_for_lack_of_bytes(upload)
        except UNMET as error:
            rejected = msgspec.structs.replace(
                upload, phase=Phase.REJECTED, outcome=error.code, reason=f"when it could be released, {error}"
            )
            ended = await self._end(upload, rejected, said=outcome)
        await self._unstage(ended, was_rejected=ended.run > 1)
        await self._withdraw(ended)  # also where another instance has rejected it meanwhile
        return ended

    async def explain(self, upload: Upload, answer: PostprocessingStepFinished, envelope: Envelope) -> None:
        """Add to an upload that has ended what a step said of it, if that was not known yet."""
        explained = explained_by(upload, answer, envelope)
        if explained != upload:
            await self._catalogue.explain(explained)

    async def confirm(self, upload: Upload, decided: PostprocessingFinished, decision_id: str) -> None:
        """Say that what was decided is done.

        Raises:
            BusUnavailable: it was not said.
        """
        decision_id = decision_id or notices.decision_id_of(upload)
        ready = notices.ready(upload, decision_id, decided, self._clock.now())
        await self._publisher.emit(ready, causation_id=decision_id, trace_parent=upload.trace_parent)

    async def refuse(self, upload_id: str, event_id: str) -> None:
        """Tell the coordinator, which has said `event_id`, that there is nothing to work on.

        Raises:
            BusUnavailable: it was not told.
        """
        await self._publisher.emit(notices.cancel(upload_id, because_of=event_id))

    async def expire(self, upload: Upload) -> Upload | None:
        """Mark an unfinished upload as expired; return it, or None if somebody was faster."""
        reason = "it was not complete in time"
        gone = msgspec.structs.replace(upload, phase=Phase.EXPIRED, ended_at=self._clock.now(), reason=reason)
        return gone if await self._catalogue.change(upload, gone) else None

    async def cancel(self, upload: Upload, only_in: Collection[Phase] | None = None) -> Upload:
        """Mark an upload as cancelled unless it has no bytes any more; return it.

        Raises:
            InvalidRequest: it is in none of the phases `only_in`.
        """
        while upload.phase.holds_bytes:
            if only_in is not None and upload.phase not in only_in:
                raise InvalidRequest(f"upload {upload.id} is {upload.phase} by now, so it is left alone.")
            gone = msgspec.structs.replace(upload, phase=Phase.CANCELLED, ended_at=self._clock.now())
            upload = gone if await self._catalogue.change(upload, gone) else await self.get(upload.id)
        return upload

    async def release_from_quarantine(self, upload: Upload, doer: Doer) -> Upload:
        """Let through what was kept aside, because somebody has looked; return the upload.

        The coordinator forgets it first, so that nothing of its old decision is left. Who is interrupted does it again.

        Raises:
            InvalidRequest: it is not in quarantine, or no reason is given.
            FileThere, OtherVersion: its proviso does not hold.
            BlobMissing: its bytes are gone.
            BusUnavailable: nothing was changed.
        """
        if not doer.reason.strip():
            raise InvalidRequest("a release from quarantine needs a reason. Say why the file is harmless.")
        _check_in_quarantine(upload)
        if upload.proviso is not None:
            await self._catalogue.check_proviso(upload)
        await self._blobs.length(upload.id)
        forget = notices.cancel(upload.id, f"{upload.run}:released")
        await self._publisher.emit(forget, trace_parent=upload.trace_parent)
        released = msgspec.structs.replace(upload, phase=Phase.RELEASED, outcome=Outcome.CONTINUE.value, reason="")
        try:
            await self._blobs.release(upload.id)
            released = msgspec.structs.replace(released, ended_at=self._clock.now())
            changed = await self._catalogue.change(upload, released, doer=doer)
        except PenstockError:
            # Nobody has said yet that it is harmless for those who read the final place itself.
            await self._withdraw_unless_released(upload)
            raise
        if not changed:
            present = await self.get(upload.id)
            if not present.phase.holds_bytes:  # deleted at another instance, before the final place had all of it
                await self.give_up(present)
            await self._withdraw(present)  # or restarted there, and rejected again
            return present
        log.warning("upload_released_from_quarantine", upload=upload.id, by=doer.name, reason=doer.reason)
        await self._unstage(released, was_rejected=True)
        ready = notices.ready(released, derived_id(upload.id, f"{upload.run}", "released"), None, self._clock.now())
        await self._said(ready, trace_parent=upload.trace_parent)
        return released

    async def withdraw(self, upload: Upload) -> bool:
        """Remove what a release that came to nothing has left in the final place of a rejected upload.

        Returns whether the upload was rejected, and so nothing of it is there any more.

        Raises:
            BlobMissing, BlobUnavailable: it may be there.
        """
        if upload.phase is not Phase.REJECTED or upload.size_bytes is None:
            return False
        token = await self._catalogue.begin_withdrawal(upload.id)
        if token is None:
            return False
        await self._blobs.withdraw(upload.id, upload.size_bytes)
        await self._catalogue.end_withdrawal(token)
        return True

    async def delete_from_quarantine(self, upload: Upload, doer: Doer) -> Upload:
        """Remove what was kept aside, for good; return the upload.

        Raises:
            InvalidRequest: it is not in quarantine.
        """
        _check_in_quarantine(upload)
        deleted = msgspec.structs.replace(
            upload, phase=Phase.DELETED, outcome=Outcome.DELETE.value, ended_at=self._clock.now()
        )
        if not await self._catalogue.change(upload, deleted, doer=doer):
            return await self.get(upload.id)
        await self.give_up(deleted)
        return deleted

    async def give_up(
        self, upload: Upload, decided: PostprocessingFinished | None = None, decision_id: str = ""
    ) -> None:
        """Have everybody stop working on an upload that the catalogue gave up, and remove its bytes."""
        self._forget(upload.id)
        decision_id = decision_id or notices.decision_id_of(upload)
        said = True
        if upload.phase is Phase.DELETED:
            ready = notices.ready(upload, decision_id, decided, self._clock.now())
            said = await self._said(ready, causation_id=decision_id, trace_parent=upload.trace_parent)
        if upload.run:
            said = await self._said(notices.cancel(upload.id), trace_parent=upload.trace_parent) and said
        await self._blobs.discard(upload.id)
        if said:
            await self._catalogue.discarded(upload.id)

    async def _reject_for_lack_of_bytes(self, upload: Upload) -> Upload:
        """Nothing can be done without them. Should they come back, as with a disk that was away, it can go on."""
        reason = "its bytes are missing from the storage"
        ended = await self._end(upload, msgspec.structs.replace(upload, phase=Phase.REJECTED, reason=reason))
        if ended.reason == reason:  # else somebody has released it, or given it up, meanwhile
            log.error("bytes_missing", upload=upload.id, hint="restart the upload once the storage has them again")
        return ended

    async def _end(self, upload: Upload, ended: Upload, *, said: str = "") -> Upload:
        """End an upload; `said` is what the steps have said, where the outcome is another one."""
        ended = msgspec.structs.replace(ended, ended_at=self._clock.now())
        proving = msgspec.structs.replace(ended, outcome=said, reason="") if said else ended
        proven = await self.recorder.proven(proving) if ended.outcome else []
        if not await self._catalogue.change(upload, ended, preceded_by=proven):
            return await self.get(upload.id)  # another process was faster
        log.info("upload_ended", upload=upload.id, phase=ended.phase, outcome=ended.outcome, reason=ended.reason)
        self._forget(upload.id)
        return ended

    async def _unstage(self, upload: Upload, *, was_rejected: bool) -> None:
        """Remove what is still staged of a released upload; leave it to the sweeper if that does not work now.

        Another instance that has seen it rejected, and was stopped then, may remove what was released yet.
        """
        if upload.phase is not Phase.RELEASED:
            return
        try:
            if was_rejected and await self._catalogue.is_withdrawn(upload.id):
                log.warning("staged_bytes_left_for_later", upload=upload.id, error="its copy may be removed yet")
                return
            await self._blobs.unstage(upload.id)
        except Unavailable as error:
            log.warning("staged_bytes_left_for_later", upload=upload.id, error=str(error))

    async def _withdraw(self, upload: Upload) -> None:
        """Do what `withdraw` does; leave it to garbage collection if that does not work now."""
        try:
            await self.withdraw(upload)
        except PenstockError as error:
            log.warning("released_copy_left_for_later", upload=upload.id, error=str(error))

    async def _withdraw_unless_released(self, upload: Upload) -> None:
        """Do what `_withdraw` does, if the upload is rejected: somebody else may have been faster."""
        try:
            present = await self._catalogue.get(upload.id)
        except PenstockError as error:
            log.warning("released_copy_left_for_later", upload=upload.id, error=str(error))
            return
        if present is not None:
            await self._withdraw(present)

    def _forget(self, upload_id: str) -> None:
        self.recorder.ended(upload_id)
        self._announced.pop(upload_id, None)

    async def _said(self, emit: Emit, *, causation_id: str = "", trace_parent: str) -> bool:
        try:
            await self._publisher.emit(emit, causation_id=causation_id, trace_parent=trace_parent)
        except BusUnavailable as error:
            log.warning("event_will_be_published_later", event_type=type(emit.event).__name__, error=str(error))
            return False
        return True


def _check_in_quarantine(upload: Upload) -> None:
    if not in_quarantine(upload):
        raise InvalidRequest(
            f"upload {upload.id} is not in quarantine: it is {upload.phase}"
            f"{f' with the outcome {upload.outcome!r}' if upload.outcome else ''}. List those that are."
        )
