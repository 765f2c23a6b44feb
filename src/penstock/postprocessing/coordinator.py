"""Takes events in, asks the machine what follows, and does it: save, publish, acknowledge, in this order.

Dying between any two of these loses nothing. Before the save, the event comes again. Between save and publish, it
comes again and is recognised as the one that led here, and what follows is said again. After the publish, it comes
again and the repeat carries the same IDs. Inputs that do not come from the bus (timers) are covered by the record's
own timers: what is awaited is said again a few times. That counts as said only after it was, however long the bus is
away.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, TypeGuard

import msgspec
import structlog

from ..bus.base import BusUnavailable
from ..core.emit import says_nothing_new
from ..core.machine import decide
from ..core.progress import State
from ..core.transition import Announce, Input, Tick, Transition, Verdict
from ..errors import Unavailable
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
from ..rests import Rests
from ..store.base import RevisionConflict
from ..tracing import UNTRACED, Span, Tracing
from .batch import AT_ONCE, apply_each, in_batches
from .ended_runs import EndedRuns
from .observer import Observer
from .outage import Outage
from .pace import wait_for_room
from .records import Record, Records

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from ..bus.base import Bus
    from ..bus.publish import Publisher
    from ..clock import Clock
    from ..core.policy import Policy
    from ..core.progress import Progress
    from ..store.base import ProgressStore, Saved
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
_TRIES = 32
"""How often an upload is read and decided anew because others changed it meanwhile. One of all who try wins each time,
so it takes more instances than this, or a store that does not keep what it says."""


class Contended(Unavailable):
    """Others kept changing an upload's record while we tried to; nothing was changed by us."""

    code = "contended"

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            f"upload {upload_id}: its record was changed by somebody else {_TRIES} times in a row. It is tried again; "
            f"if this stays so, two installations may share a store that is not meant for both."
        )
        self.upload_id = upload_id


def _wanted(envelope: Envelope) -> bool:
    """Of the start events, only the delay's is for the coordinator."""
    event = envelope.event
    return not isinstance(event, StartPostprocessingStep) or event.step_to_start == DELAY


class Coordinator:
    """Moves uploads through their steps. Any number of instances may share a bus and a store."""

    def __init__(
        self,
        *,
        store: ProgressStore,
        bus: Bus,
        publisher: Publisher,
        policy: Policy,
        clock: Clock,
        metrics: Metrics,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self._store = store
        self._bus = bus
        self._publisher = publisher
        self._policy = policy
        self._clock = clock
        self._observer = Observer(metrics)
        self._tracing = tracing
        self._outage = Outage()
        self._records = Records(store)
        self._ended_runs = EndedRuns()
        self._answering: set[str] = set()
        self.near_timer = asyncio.Event()
        """Set whenever a timer was saved that ends within `POLL`."""

    def subscribe(self, *, workers: int) -> AbstractAsyncContextManager[None]:
        """Handle events, at most `workers` at a time, while the returned context is open."""
        return self._bus.subscribe(GROUP, CONSUMED, self.handle, workers=workers, only=_wanted)

    async def handle(self, envelope: Envelope) -> None:
        """Handle one event from the bus. Returning means that it is done for good.

        Raises:
            StoreUnavailable, BusUnavailable, Contended: it is not done; the event must come again.
        """
        event = envelope.event
        if isinstance(event, ResumePostprocessing) and event.step:
            await self._resume_step(event.step, envelope)
            return
        upload_id: str = event.upload_id
        if upload_id:
            await self.apply(upload_id, envelope)
        else:
            self._observer.note_nameless(envelope)

    async def _resume_step(self, step: str, envelope: Envelope) -> None:
        """Resume all uploads in a step; those that were resumed already when this comes again recognise it."""
        failure: Exception | None = None
        rests = Rests(self._clock, stretch=AT_ONCE)
        async for batch in in_batches(self._store.in_step(step)):
            await self.room()
            away = [result.error for result in await apply_each(self, envelope, batch) if result.unavailable]
            await rests.after(len(batch))
            failure = away[0] if away else failure
            if len(away) == len(batch):
                break
        if failure is not None:
            raise failure

    async def ask(self, event: ResumePostprocessing, event_id: str) -> None:
        """Have the coordinators go on with all uploads of a step, in their turn.

        Raises:
            BusUnavailable: nobody was asked.
        """
        await self._publisher.publish(event, event_id=event_id)

    async def room(self) -> None:
        """Wait until what arrives is handled for the most part: to be called by who is about to say a lot."""
        await wait_for_room(self._bus, GROUP, self._clock)

    async def apply(self, upload_id: str, received: Input, *, saved: Saved | None = None) -> Transition:
        """Decide on one input for one upload and carry the decision out; return it.

        Args:
            upload_id: the upload.
            received: the input.
            saved: its record, if that was read from the store just now.

        Raises:
            StoreUnavailable, BusUnavailable, Contended: as for `handle`.
        """
        if saved is not None:
            record = self._records.note(saved)
        elif _begins(received):
            record = self._records.suppose_new(upload_id)
        else:
            record = await self._records.read(upload_id)
        for _ in range(_TRIES):
            transition = self._decide(record, received)
            if record.fresh or transition.verdict is Verdict.APPLIED:
                try:
                    await self._carry_out(record, received, transition)
                except RevisionConflict:
                    pass
                else:
                    return transition
            record = await self._records.read(upload_id, fresh=True)
        raise Contended(upload_id)

    async def _carry_out(self, record: Record, received: Input, transition: Transition) -> None:
        """Do what was decided, in a span of the upload's trace if it moves the upload."""
        with self._span(record, received, transition) as span:
            if not _moves(record.progress, transition):
                span.discard()
            try:
                await self._save_and_say(record, received, transition, span)
            except RevisionConflict:
                span.discard()
                raise
        if transition.verdict is Verdict.APPLIED and isinstance(received, Envelope):
            event = received.event
            if isinstance(event, PostprocessingStepFinished) and event.finished_step not in self._answering:
                await self._remember_answer(event.finished_step)

    async def _save_and_say(self, record: Record, received: Input, transition: Transition, span: Span) -> None:
        """Save, then publish. What was said before is counted as said again only once it was: publish, then save."""
        before, after = record.progress, transition.progress
        said_before = says_nothing_new(before, transition.emits)
        if said_before:
            await self._publish(transition, span)
        if after is not before:
            if after is not None and not after.trace_parent and after.state is not State.ENDED:
                after = msgspec.structs.replace(after, trace_parent=span.trace_parent)
            await self._records.change(record, after)
        now = self._clock.now()
        if after is not before:
            self._saved(before, after, now)
        self._observer.note(record.upload_id, before, received, transition, now)
        if not said_before:
            await self._publish(transition, span)

    def _saved(self, before: Progress | None, after: Progress | None, now: datetime) -> None:
        if after is not None and after.due_at is not None and after.due_at < now + POLL:
            self.near_timer.set()
        if before is not None and (after is None or after.state is State.ENDED):
            self._ended_runs.note(before)

    async def _publish(self, transition: Transition, span: Span) -> None:
        if not transition.emits:
            return
        try:
            await self._publisher.emit(*transition.emits, trace_parent=span.trace_parent)
        except BusUnavailable:
            self._outage.noticed(self._clock.now())
            raise
        if self._outage.lasts:
            self._outage.over(self._clock.now())

    def _span(self, record: Record, received: Input, transition: Transition) -> Span:
        """Begin a span under the event's; under the run's beginning for our own inputs, and for events without one."""
        before, after = record.progress, transition.progress
        name, parent = type(received).__name__, ""
        if isinstance(received, Envelope):
            name, parent = received.event_type, received.trace_parent
        if before is not None:
            parent = parent or before.trace_parent
        if self._tracing is UNTRACED:
            return UNTRACED.span("", parent)  # of which nothing but the trace remains
        known = after or before
        if known is None:
            return self._tracing.span(f"coordinator {name}", parent, upload_id=record.upload_id)
        return self._tracing.span(
            f"coordinator {name}",
            parent,
            upload_id=record.upload_id,
            step=known.status.current_step,
            attempt=known.attempt,
            outcome=known.status.outcome,
            error=known.last_error,
        )

    def _decide(self, record: Record, received: Input) -> Transition:
        progress = record.progress
        if progress is None and _begins(received) and self._ended_runs.have(record.upload_id, received.event_id):
            return Transition(None, Verdict.DUPLICATE, reason="this run has ended")
        if isinstance(received, Tick) and progress is not None and self._outage.covers(progress.deadline_at):
            # Neither could the step be told nor could it answer: it is asked again, and gets its whole time.
            received = Announce()
        return decide(progress, received, self._clock.now(), self._policy)

    async def _remember_answer(self, step: str) -> None:
        """Note, once per step, that somebody answers it. What was decided does not hang on this."""
        try:
            await self._store.remember_answer(step, self._clock.now())
        except Unavailable as error:
            log.warning("answer_not_remembered", step=step, error=str(error))
        else:
            self._answering.add(step)


def _begins(received: Input) -> TypeGuard[Envelope]:
    return isinstance(received, Envelope) and isinstance(received.event, BytesReceived)


def _moves(before: Progress | None, transition: Transition) -> bool:
    """Tell whether an upload gets anywhere, or something is said about it: most signs of life only put timers off."""
    after = transition.progress
    if transition.emits or before is None or after is None:
        return bool(transition.emits) or after is not before
    return after.state is not before.state
