"""What is heard on the bus about uploads, and what follows from it.

Every event may come twice: the second time finds the work done, and only says again what follows from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from ...errors import InvalidRequest
from ...events.types import (
    Envelope,
    Event,
    Outcome,
    PostprocessingFinished,
    PostprocessingRetry,
    PostprocessingStepFinished,
    RestartPostprocessing,
    StartPostprocessingStep,
)
from ...ids import is_upload_id
from ..upload import Phase, Upload
from .runs import decides_earlier_run

if TYPE_CHECKING:
    from ...tracing import Tracing
    from ..catalogue.catalogue import Catalogue
    from ..locking.turns import Turns
    from .deeds import Deeds

log = structlog.get_logger(__name__)

CONSUMED: Final[tuple[type[Event], ...]] = (
    PostprocessingFinished,
    PostprocessingRetry,
    PostprocessingStepFinished,
    RestartPostprocessing,
    StartPostprocessingStep,
)


def is_release(envelope: Envelope) -> bool:
    """Tell whether an event has an upload be released."""
    return isinstance(envelope.event, PostprocessingFinished) and envelope.event.outcome == Outcome.CONTINUE.value


class Heard:
    """Has done what events ask for.

    Args:
        catalogue: knows all uploads.
        deeds: what is done.
        turns: one at a time works on an upload.
        tracing: is told of each decision.
    """

    def __init__(self, *, catalogue: Catalogue, deeds: Deeds, turns: Turns, tracing: Tracing) -> None:
        self._catalogue = catalogue
        self._deeds = deeds
        self._turns = turns
        self._tracing = tracing

    async def handle(self, envelope: Envelope) -> None:
        """Handle one event, as `Gateway.handle`."""
        upload_id: str = envelope.event.upload_id
        if not is_upload_id(upload_id):
            return  # another storage's, or a scan on demand
        is_start = isinstance(envelope.event, StartPostprocessingStep)
        if is_start and await self._deeds.recorder.has_written(upload_id, envelope):
            return
        async with self._turns.of(upload_id):
            upload = await self._catalogue.get(upload_id)
            if upload is None or not upload.phase.holds_bytes:
                await self._turn_away(upload, envelope)
            else:
                await self._handle(upload, envelope)

    async def keep_explanation(self, envelope: Envelope) -> None:
        """Keep why a step of this process does not let an upload pass, before anybody acts on that.

        The coordinator may decide on the answer, and the process die, before the bus has brought it to us. Then the
        decision is said again, but not the answer.
        """
        event = envelope.event
        if isinstance(event, PostprocessingStepFinished) and is_upload_id(event.upload_id):
            upload = await self._catalogue.get(event.upload_id)
            if upload is not None and upload.phase is Phase.PROCESSING:
                await self._deeds.recorder.explained(upload, event, envelope)

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
