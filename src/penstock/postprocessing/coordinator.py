"""Takes events in, asks the machine what follows, and does it: save, publish, acknowledge, in this order.

Dying between any two of these loses nothing. Before the save, the event comes again. Between save and publish, it
comes again and is recognised as the one that led here, and what follows is said again. After the publish, it comes
again and the repeat carries the same IDs. Inputs that do not come from the bus (timers) are covered by the record's
own timers.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from ..core.machine import decide, kind_of
from ..core.progress import FINISHED, RETRYING, Progress, State
from ..core.transition import Input, Kind, Transition, Verdict
from ..events.types import (
    DELAY,
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    Event,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    ResumePostprocessing,
    StartPostprocessingStep,
    UploadReady,
)
from ..store.base import RevisionConflict
from .records import Record, Records

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ..bus.base import Bus
    from ..bus.publish import Publisher
    from ..clock import Clock
    from ..core.policy import Policy
    from ..store.base import ProgressStore
    from ..telemetry import Metrics

log = structlog.get_logger(__name__)

GROUP = "postprocessing"
"""The consumer group of all coordinators; also the name of the Go service's durable consumer."""
CONSUMED: tuple[type[Event], ...] = (
    BytesReceived,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    StartPostprocessingStep,
    UploadReady,
    ResumePostprocessing,
    CancelPostprocessing,
)
POLL = timedelta(seconds=1)
"""The longest pause between two looks for timers that are due: other instances set some too, and the clock may jump."""
_ENDED_RUNS_KEPT = 10_000
"""Runs whose end is remembered, so that a late repeat of their first event does not begin them anew."""


def _wanted(envelope: Envelope) -> bool:
    """Of the start events, only the delay's is for the coordinator."""
    event = envelope.event
    return not isinstance(event, StartPostprocessingStep) or event.step_to_start == DELAY


class Coordinator:
    """Moves uploads through their steps. Any number of instances may share a bus and a store."""

    def __init__(
        self, *, store: ProgressStore, bus: Bus, publisher: Publisher, policy: Policy, clock: Clock, metrics: Metrics
    ) -> None:
        self._store = store
        self._bus = bus
        self._publisher = publisher
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._records = Records(store)
        self._ended_runs: OrderedDict[str, None] = OrderedDict()
        self._answering: set[str] = set()
        self.near_timer = asyncio.Event()
        """Set whenever a timer was saved that ends within `POLL`."""

    def subscribe(self, *, workers: int) -> AbstractAsyncContextManager[None]:
        """Handle events, at most `workers` at a time, while the returned context is open."""
        return self._bus.subscribe(GROUP, CONSUMED, self.handle, workers=workers, only=_wanted)

    async def handle(self, envelope: Envelope) -> None:
        """Handle one event from the bus. Returning means that it is done for good.

        Raises:
            StoreUnavailable, BusUnavailable: it is not done; the event must come again.
        """
        event = envelope.event
        if isinstance(event, ResumePostprocessing) and event.step:
            async for saved in self._store.in_step(event.step):
                await self.apply(saved.progress.upload_id, envelope)
            return
        upload_id: str = event.upload_id
        if upload_id:
            await self.apply(upload_id, envelope)

    async def apply(self, upload_id: str, received: Input) -> Transition:
        """Decide on one input for one upload and carry the decision out; return it.

        Raises:
            StoreUnavailable, BusUnavailable: as for `handle`.
        """
        record = await self._records.read(upload_id)
        while True:
            transition = self._decide(record, received)
            if transition.verdict is not Verdict.APPLIED and not record.fresh:
                record = await self._records.read(upload_id, fresh=True)
                continue
            try:
                if transition.progress is not record.progress:
                    await self._records.change(record, transition.progress)
                    self._expect(transition.progress)
                break
            except RevisionConflict:
                record = await self._records.read(upload_id, fresh=True)
        if transition.emits:
            await self._publisher.emit(*transition.emits)
        await self._note(record, received, transition)
        return transition

    def _expect(self, progress: Progress | None) -> None:
        if progress is not None and progress.due_at is not None and progress.due_at < self._clock.now() + POLL:
            self.near_timer.set()

    def _decide(self, record: Record, received: Input) -> Transition:
        repeats_ended_run = (
            record.progress is None
            and isinstance(received, Envelope)
            and isinstance(received.event, BytesReceived)
            and received.event_id in self._ended_runs
        )
        if repeats_ended_run:
            return Transition(None, Verdict.DUPLICATE, reason="this run has ended")
        return decide(record.progress, received, self._clock.now(), self._policy)

    async def _note(self, record: Record, received: Input, transition: Transition) -> None:
        """Count, log, and remember what is worth it."""
        kind = kind_of(received)
        self._metrics.inputs.labels(kind or "other", transition.verdict).inc()
        if transition.verdict is not Verdict.APPLIED:
            if transition.verdict in (Verdict.DUPLICATE, Verdict.STALE, Verdict.UNKNOWN):
                log.info(
                    "input_dropped",
                    upload=record.upload_id,
                    kind=kind,
                    verdict=transition.verdict,
                    reason=transition.reason,
                )
            return
        before, after = record.progress, transition.progress
        if after is None and before is not None:
            self._remember_end(before.run_id)
        if isinstance(received, Envelope) and isinstance(received.event, PostprocessingStepFinished) and before:
            await self._note_answer(before, received.event)
        if after is not None and kind is not Kind.PROGRESS:
            self._note_move(before, after)

    async def _note_answer(self, before: Progress, event: PostprocessingStepFinished) -> None:
        step, now = event.finished_step, self._clock.now()
        self._metrics.step_outcomes.labels(step, event.outcome).inc()
        if before.step_started_at is not None:
            self._metrics.step_seconds.labels(step).observe(max(0.0, (now - before.step_started_at).total_seconds()))
        if step not in self._answering:
            await self._store.remember_answer(step, now)
            self._answering.add(step)

    def _note_move(self, before: Progress | None, after: Progress) -> None:
        fields = {"upload": after.upload_id, "step": after.status.current_step, "attempt": after.attempt}
        if after.status.outcome == RETRYING:
            self._metrics.retries.labels(after.status.current_step).inc()
            log.warning("step_will_be_retried", **fields, at=after.resume_at, error=after.last_error)
        elif after.state is State.FINISHED and (before is None or before.state is not State.FINISHED):
            self._metrics.outcomes.labels(after.status.outcome).inc()
            if after.started_at is not None:
                elapsed = (self._clock.now() - after.started_at).total_seconds()
                self._metrics.processing_seconds.observe(max(0.0, elapsed))
            log.info("upload_decided", upload=after.upload_id, outcome=after.status.outcome, error=after.last_error)
        elif after.status.current_step != FINISHED:
            log.info("step_started", **fields)

    def _remember_end(self, run_id: str) -> None:
        if run_id:
            self._ended_runs[run_id] = None
            if len(self._ended_runs) > _ENDED_RUNS_KEPT:
                self._ended_runs.popitem(last=False)
