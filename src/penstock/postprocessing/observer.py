"""Counts and logs what becomes of the coordinator's inputs. Nothing is decided here."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

import structlog

from ..core.machine import kind_of
from ..core.progress import Progress, State
from ..core.transition import Input, Kind, Transition, Verdict
from ..events.types import BytesReceived, Envelope, Outcome, PostprocessingStepFinished

if TYPE_CHECKING:
    from datetime import datetime

    from ..telemetry import Metrics

log = structlog.get_logger(__name__)

_DROPPED = {Verdict.STALE: logging.INFO, Verdict.UNKNOWN: logging.INFO, Verdict.DUPLICATE: logging.DEBUG}
"""Worth a line in the log: an event that its sender expected to count; what was said again at a start, for few."""
_CONTINUE = Outcome.CONTINUE.value


class Observer:
    """Watches over the shoulder of one coordinator."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # To find the counter for some labels takes longer than to count.
        self._inputs = cache(metrics.inputs.labels)
        self._step_outcomes = cache(metrics.step_outcomes.labels)
        self._step_seconds = cache(metrics.step_seconds.labels)
        self._outcomes = cache(metrics.outcomes.labels)

    def note(
        self, upload_id: str, before: Progress | None, received: Input, transition: Transition, now: datetime
    ) -> None:
        """Take note of one input that was decided on, and saved where it changed anything."""
        kind, verdict, after = kind_of(received), transition.verdict, transition.progress
        self._inputs(kind or "other", verdict).inc()
        if verdict in _DROPPED:
            log.log(
                _DROPPED[verdict],
                "input_dropped",
                upload=upload_id,
                kind=kind,
                verdict=verdict,
                reason=transition.reason,
            )
        if verdict is not Verdict.APPLIED:
            return
        if before is not None and isinstance(received, Envelope):
            self._note_answer(before, received, now)
        if after is not None and _moved(before, after):
            self._note_move(before, after, now)

    def note_nameless(self, envelope: Envelope) -> None:
        """Take note of an event that names no upload. Those of scans on demand do not; of a new upload it is a loss."""
        self._inputs(kind_of(envelope) or "other", Verdict.IGNORED).inc()
        level = logging.ERROR if isinstance(envelope.event, BytesReceived) else logging.DEBUG
        log.log(level, "event_names_no_upload", event_type=envelope.event_type, event_id=envelope.event_id)

    def note_foregone(self, upload_id: str) -> None:
        """Take note of an upload that was released as soon as it was there, as if it had gone the long way."""
        self._inputs(Kind.RECEIVED, Verdict.APPLIED).inc()
        self._outcomes(_CONTINUE).inc()
        self._metrics.processing_seconds.observe(0.0)
        log.info("upload_decided", upload=upload_id, outcome=_CONTINUE, error="")

    def _note_answer(self, before: Progress, received: Envelope, now: datetime) -> None:
        event = received.event
        if isinstance(event, PostprocessingStepFinished):
            self._step_outcomes(event.finished_step, event.outcome).inc()
            if before.step_started_at is not None:
                elapsed_seconds = (now - before.step_started_at).total_seconds()
                self._step_seconds(event.finished_step).observe(max(0.0, elapsed_seconds))

    def _note_move(self, before: Progress | None, after: Progress, now: datetime) -> None:
        step, outcome = after.status.current_step, after.status.outcome
        fields = {"upload": after.upload_id, "step": step, "attempt": after.attempt}
        match after.state:  # nothing is said of those that are done: the storage side does
            case State.BACKOFF:
                self._metrics.retries.labels(step).inc()
                log.warning("step_will_be_retried", **fields, at=after.resume_at, error=after.last_error)
            case State.STEP | State.DELAY:
                log.info("step_started", **fields)
            case State.FINISHED if before is not None and before.state is State.FINISHED and before.run == after.run:
                log.info("decision_repeated", upload=after.upload_id, outcome=outcome)
            case State.FINISHED:
                self._note_decision(after, now)
            case State.FAILED:
                log.info("upload_not_released", upload=after.upload_id, outcome=outcome)

    def _note_decision(self, decided: Progress, now: datetime) -> None:
        self._outcomes(decided.status.outcome).inc()
        if decided.started_at is not None:
            elapsed_seconds = (now - decided.started_at).total_seconds()
            self._metrics.processing_seconds.observe(max(0.0, elapsed_seconds))
        log.info("upload_decided", upload=decided.upload_id, outcome=decided.status.outcome, error=decided.last_error)


def _moved(before: Progress | None, after: Progress) -> bool:
    """Tell whether an upload went anywhere; most timers and signs of life only note that it is where it was."""
    return before is None or _place(before) != _place(after)


def _place(progress: Progress) -> tuple[State, str, str, int]:
    return progress.state, progress.run, progress.status.current_step, progress.attempt
