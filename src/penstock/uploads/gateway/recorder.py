"""Writes down what steps do with an upload, in order and once, for those who follow it.

What was written is recognised by the ID of the start event. A process that died may have taken an answer with it
before it was written; the start of the next step, or what was decided, proves that it was given, and it is written
then. Only why a step did not let an upload pass nobody else knows: that is kept before anybody hears of the answer.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ...core.emit import error_of
from ...events.types import (
    Outcome,
    PostprocessingRetry,
    PostprocessingStepFinished,
    StartPostprocessingStep,
    VirusscanResult,
)
from ..catalogue.journal import Details, Happening, Kind
from ..file_errors import UNMET
from ..upload import ScanMark, Upload
from .runs import attempt_of

if TYPE_CHECKING:
    from ...clock import Clock
    from ...events.types import Envelope
    from ..catalogue.catalogue import Catalogue

_KNOWN: Final = 20_000
"""Runs whose present step is kept in memory, at some 300 bytes each; for others the journal is asked."""


class Attempt(NamedTuple):
    """The last start of a step that was written down."""

    start_id: str
    step: str
    number: int | None


class _Run(NamedTuple):
    number: int
    attempt: Attempt | None
    answered: bool = False
    """Whether an answer to it was written down; False if that is not known."""


class Recorder:
    """Keeps the journal of steps. To be called in the order of the events of an upload, and for one at a time.

    Args:
        catalogue: holds the journal, and what steps say about an upload itself.
        clock: dates the entries.
        alone: whether no other instance writes them; otherwise the journal is asked for what it says each time.
    """

    def __init__(self, catalogue: Catalogue, clock: Clock, *, alone: bool) -> None:
        self._alone = alone
        self._catalogue = catalogue
        self._clock = clock
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    def begun(self, upload: Upload) -> None:
        """A run begins: nothing of it can be in the journal."""
        self._remember(upload, None)

    def ended(self, upload_id: str) -> None:
        """A run is over."""
        self._runs.pop(upload_id, None)

    async def has_written(self, upload_id: str, envelope: Envelope) -> bool:
        """Tell whether the start of a step was written down by an earlier process, of an upload in processing.

        So it is with most of what is said again after a restart, and costs one look. False: nobody has looked.
        """
        if not self._alone or upload_id in self._runs:
            return False
        return await self._catalogue.is_written(upload_id, _start_key(envelope))

    async def started(self, upload: Upload, event: StartPostprocessingStep, envelope: Envelope) -> None:
        """Write down that a step begins, or begins again."""
        run = await self._run(upload)
        before = run.attempt
        start_id, step = _start_key(envelope), event.step_to_start
        if before is not None and before.start_id == start_id:
            return  # said again
        expected = (before.number or 0) + 1 if before is not None and before.step == step else 1
        number = attempt_of(start_id, upload.id, upload.run, step, first=expected)
        details = Details(filename=upload.filename, step=step, attempt=number)
        happenings = [self._happening(upload, start_id, Kind.STEP_STARTED, details)]
        if before is not None and before.step != step and not run.answered:
            happenings.insert(0, self._answer(upload, before, Outcome.CONTINUE.value))
        await self._catalogue.note(upload.id, happenings)
        self._remember(upload, Attempt(start_id, step, number))

    async def explained(self, upload: Upload, event: PostprocessingStepFinished, envelope: Envelope) -> None:
        """Keep what a step is about to say against an upload; nothing of an answer that could be guessed.

        It is not written down yet: that happens in its turn, once it is `answered`.
        """
        scan, reason = _scan_of(event), error_of(event)
        corrects = scan is not None and upload.scan not in (None, scan)
        is_present = attempt_of(envelope.causation_id, upload.id, upload.run, event.finished_step) is not None
        if is_present and (reason or corrects):
            explanation = "" if event.outcome == Outcome.CONTINUE else reason
            await self._catalogue.note(upload.id, [], scan=scan, reason=explanation)

    async def answered(self, upload: Upload, event: PostprocessingStepFinished, envelope: Envelope) -> None:
        """Write down what a step says at its end, and keep what it says about the upload."""
        now = (await self._run(upload)).attempt
        about_now = now is not None and now.step == event.finished_step and envelope.causation_id in ("", now.start_id)
        start_id = now.start_id if now is not None and about_now else envelope.causation_id
        details = Details(
            filename=upload.filename,
            step=event.finished_step,
            attempt=now.number if now is not None and about_now else None,
            outcome=event.outcome,
            reason=error_of(event),
        )
        key = _answer_key(start_id) if start_id else envelope.event_id or envelope.id
        await self._catalogue.note(
            upload.id,
            [self._happening(upload, key, Kind.STEP_FINISHED, details)],
            scan=_scan_of(event),
            reason="" if event.outcome == Outcome.CONTINUE else details.reason,
        )
        if about_now:
            self._remember(upload, now, answered=True)

    async def retried(self, upload: Upload, event: PostprocessingRetry, envelope: Envelope) -> None:
        """Write down that the present step will be tried again, and when."""
        now = (await self._run(upload)).attempt
        details = Details(
            filename=upload.filename,
            step=now.step if now else "",
            attempt=now.number if now else None,
            next_try_at=self._clock.now() + event.backoff_duration,
        )
        key = envelope.event_id or envelope.id
        await self._catalogue.note(upload.id, [self._happening(upload, key, Kind.RETRY, details)])

    async def proven(self, upload: Upload) -> list[Happening]:
        """Return what the decision about an upload proves to have happened; it is written if it was not yet.

        It proves what the last step has answered; but not if it is `abort`, which also ends too many retries.
        """
        run = await self._run(upload)
        if run.attempt is None or run.answered or upload.outcome == Outcome.ABORT:
            return []
        return [self._answer(upload, run.attempt, upload.outcome, upload.reason)]

    def _answer(self, upload: Upload, attempt: Attempt, outcome: str, reason: str = "") -> Happening:
        details = Details(
            filename=upload.filename, step=attempt.step, attempt=attempt.number, outcome=outcome, reason=reason
        )
        return self._happening(upload, _answer_key(attempt.start_id), Kind.STEP_FINISHED, details)

    async def _run(self, upload: Upload) -> _Run:
        known = self._runs.get(upload.id) if self._alone else None
        if known is not None and known.number == upload.run:
            return known
        written = await self._catalogue.last_start(upload.id)
        return self._remember(upload, None if written is None else Attempt(*written))

    def _remember(self, upload: Upload, attempt: Attempt | None, *, answered: bool = False) -> _Run:
        run = _Run(upload.run, attempt, answered)
        if not self._alone:
            return run
        self._runs[upload.id] = run
        self._runs.move_to_end(upload.id)
        if len(self._runs) > _KNOWN:
            self._runs.popitem(last=False)
        return run

    def _happening(self, upload: Upload, key: str, kind: Kind, details: Details) -> Happening:
        return Happening(key=key, upload_id=upload.id, at=self._clock.now(), kind=kind, details=details)


_LEAD_TO: Final = {(Outcome.RETRY, Outcome.ABORT), *((Outcome.CONTINUE, kind.code) for kind in UNMET)}
"""What a step may have said, and what another outcome that comes of it."""


def explained_by(ended: Upload, event: PostprocessingStepFinished, envelope: Envelope) -> Upload:
    """Return an upload that has ended with what an answer adds to it, which the decision has overtaken.

    A bus that delivers again what a process has died over brings the answer after the decision that it led to.
    """
    is_cause = event.outcome == ended.outcome or (event.outcome, ended.outcome) in _LEAD_TO
    start_id, step = envelope.causation_id, event.finished_step
    if not is_cause or (start_id and attempt_of(start_id, ended.id, ended.run, step) is None):
        return ended
    is_bare = ended.reason == unexplained(ended.outcome)
    return msgspec.structs.replace(
        ended,
        scan=ended.scan or _scan_of(event),
        reason=(error_of(event) or ended.reason) if is_bare else ended.reason,
    )


def unexplained(outcome: str) -> str:
    """Return the reason of an upload that was not released, for which no step has given one."""
    return f"its steps ended with {outcome!r}"


def _start_key(envelope: Envelope) -> str:
    return envelope.event_id or envelope.id


def _answer_key(start_id: str) -> str:
    return f"{start_id}:{Kind.STEP_FINISHED}"


def _scan_of(event: PostprocessingStepFinished) -> ScanMark | None:
    result = event.result
    if not isinstance(result, VirusscanResult):
        return None
    return ScanMark(
        infected=result.infected,
        signature=result.description,
        scanned_at=result.scandate,
        error=result.error_message,
        details=None if result.scan is msgspec.UNSET else result.scan,
    )
