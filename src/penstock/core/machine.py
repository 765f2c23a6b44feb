"""The rules of postprocessing: `(progress, input, now, policy) -> (progress', events to emit)`.

This module follows rules of its own:

- All transitions are in `TABLE`, and only there. A pair that is not in it changes nothing. The diagram in the docs is
  drawn from it.
- No clock, no chance, no I/O, no log. Whoever calls it saves the new progress first, then emits the events, and only
  then acknowledges the input. It may die between any two of these: the input comes again, and is recognised.
- Every emitted event has an ID derived from (upload, run, step, attempt), so saying it twice is saying it once.
- Every state in which an answer is awaited has a timer in the progress, or is visible as stalled. None is a dead end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

import msgspec

from ..events.types import (
    DELAY,
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    Outcome,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    ResumePostprocessing,
    StartPostprocessingStep,
    UploadReady,
)
from . import emit
from .emit import Emit
from .policy import Policy
from .progress import FINISHED, RETRYING, Progress, State, Status

_HANDLED_KEPT = 16
"""How many event IDs a record remembers. A foreign step service cannot have more results in flight than this."""


class Tick(msgspec.Struct, frozen=True):
    """A timer of the upload may be due."""


class Announce(msgspec.Struct, frozen=True):
    """What the upload awaits may never have been said: say it again.

    Sent to every record after a start on a bus that forgets, and where a stream was lost.
    """


Input = Envelope | Tick | Announce


class Kind(StrEnum):
    """What an input means to the machine: the columns of `TABLE`."""

    RECEIVED = "bytes received"
    CONTINUE = "step: continue"
    RETRY = "step: retry"
    STOP = "step: abort, delete or other"
    PROGRESS = "step: sign of life"
    DELAY_STARTED = "delay started"
    RELEASED = "upload ready"
    RELEASE_FAILED = "upload failed"
    RESUME = "resume"
    CANCEL = "cancel"
    TICK = "timer"
    ANNOUNCE = "announce"


class Verdict(StrEnum):
    """What became of an input; counted by the coordinator."""

    APPLIED = "applied"
    """The progress changed."""
    REPEATED = "repeated"
    """A repeat of the input that led here: nothing changed, but what follows from it is said again."""
    DUPLICATE = "duplicate"
    """Acted on earlier; dropped."""
    STALE = "stale"
    """About another step, attempt or run than the current one; dropped."""
    UNKNOWN = "unknown"
    """About an upload that is not known, or not any more; dropped."""
    IGNORED = "ignored"
    """Means nothing in this state; dropped."""


class Transition(msgspec.Struct, frozen=True):
    """The machine's answer.

    `progress` is the same object as before when nothing needs saving; None means that there is no record, or that it
    is to be removed.
    """

    progress: Progress | None
    verdict: Verdict
    emits: tuple[Emit, ...] = ()
    reason: str = ""


def decide(progress: Progress | None, received: Input, now: datetime, policy: Policy) -> Transition:
    """Return what follows from one input.

    Args:
        progress: the saved record, or None when there is none.
        received: an event from the bus, or one of our own inputs.
        now: the time, aware and in UTC. May be earlier than at the last call.
        policy: the operator's choices as of now.
    """
    state = State.NONE if progress is None else progress.state
    kind = kind_of(received)
    if kind is None:
        return Transition(progress, Verdict.IGNORED, reason="an event type that is not for the coordinator")
    if progress is not None and isinstance(received, Envelope):
        dropped = _recognise(progress, received, kind)
        if dropped is not None:
            return dropped
    entry = TABLE.get((state, kind))
    if entry is None:
        verdict = Verdict.UNKNOWN if progress is None else Verdict.IGNORED
        return Transition(progress, verdict, reason=f"{kind} means nothing in state {state}")
    rule, _ = entry
    return rule(_Context(progress, received, now, policy))


def kind_of(received: Input) -> Kind | None:
    """Classify an input; None for event types that are not for the coordinator."""
    if isinstance(received, Tick):
        return Kind.TICK
    if isinstance(received, Announce):
        return Kind.ANNOUNCE
    match received.event:
        case BytesReceived():
            return Kind.RECEIVED
        case PostprocessingStepFinished(outcome=Outcome.CONTINUE):
            return Kind.CONTINUE
        case PostprocessingStepFinished(outcome=Outcome.RETRY):
            return Kind.RETRY
        case PostprocessingStepFinished():
            return Kind.STOP
        case PostprocessingStepProgress():
            return Kind.PROGRESS
        case StartPostprocessingStep(step_to_start="delay"):
            return Kind.DELAY_STARTED
        case UploadReady(failed=failed):
            return Kind.RELEASE_FAILED if failed else Kind.RELEASED
        case ResumePostprocessing():
            return Kind.RESUME
        case CancelPostprocessing():
            return Kind.CANCEL
        case _:
            return None


# --- recognising what is not, or no longer, about the present ---------------------------------------------------------


def _recognise(progress: Progress, received: Envelope, kind: Kind) -> Transition | None:
    """Return the answer to an input that was handled before or is about the past; None when it is news.

    The input that led to the present state may come again because its reader died after saving and before
    publishing: what follows from it is said again.
    """
    if received.event_id and received.event_id in (progress.run_id, *progress.handled):
        if progress.handled and received.event_id == progress.handled[-1]:
            return Transition(progress, Verdict.REPEATED, emit.awaited(progress))
        return Transition(progress, Verdict.DUPLICATE, reason="acted on earlier")
    if kind is Kind.RELEASED:
        return None  # whichever decision led to it, the file is available and the run is over
    event = received.event
    if isinstance(event, PostprocessingStepFinished | PostprocessingStepProgress):
        step = event.finished_step if isinstance(event, PostprocessingStepFinished) else event.step
        if step != progress.status.current_step:
            return Transition(
                progress,
                Verdict.STALE,
                reason=f"about step {step!r}; now in {progress.status.current_step!r}",
            )
    if received.causation_id and received.causation_id != emit.awaited_id(progress):
        return Transition(progress, Verdict.STALE, reason=f"{kind} of an earlier attempt or run")
    return None


# --- the rules --------------------------------------------------------------------------------------------------------


_E = TypeVar("_E")


class _Context(msgspec.Struct, frozen=True):
    """What a rule works with."""

    before: Progress | None
    received: Input
    now: datetime
    policy: Policy

    @property
    def progress(self) -> Progress:
        """The record, in rules for states that have one."""
        if self.before is None:
            raise LookupError("this rule is for uploads that have a record")
        return self.before

    @property
    def event_id(self) -> str:
        return self.received.event_id if isinstance(self.received, Envelope) else ""

    @property
    def initiator_id(self) -> str:
        return self.received.initiator_id if isinstance(self.received, Envelope) else ""

    def event(self, kind: type[_E]) -> _E:
        """The input's event, in rules for inputs of that kind."""
        if isinstance(self.received, Envelope) and isinstance(self.received.event, kind):
            return self.received.event
        raise TypeError(f"this rule is for {kind.__name__}")


def _begin(c: _Context) -> Transition:
    """All bytes are there: start the first step. On a known upload, with another event ID, this is a restart."""
    event = c.event(BytesReceived)
    fresh = Progress(
        upload_id=event.upload_id,
        url=event.url,
        user=event.executing_user,
        impersonating_user=event.impersonating_user,
        filename=event.filename,
        filesize=event.filesize,
        resource_id=event.resource_id,
        steps=c.policy.steps_for(event),
        status=Status(FINISHED),
        initiator_id=c.initiator_id,
        started_at=c.now,
        run_id=c.event_id,
        handled=() if c.before is None else c.before.handled,
    )
    return _enter(c, fresh, after=None)


def _advance(c: _Context) -> Transition:
    """The current step is done: start the following one, or finish."""
    return _enter(c, c.progress, after=c.progress.status.current_step)


def _enter(c: _Context, progress: Progress, *, after: str | None) -> Transition:
    """Start the step that follows `after` (None: the first), or finish with `continue`.

    A delay step of no duration is announced, as the Go service does, and passed at once.
    """
    emits: list[Emit] = []
    # A record whose step is not one of its steps was damaged: run all of them rather than let the file pass.
    done = progress.steps.index(after) + 1 if after in progress.steps else 0
    remaining = progress.steps[done:]
    for step in remaining:
        entered = _started(c, progress, step, attempt=1, step_failures=0)
        emits.extend(emit.awaited(entered))
        if step != DELAY or c.policy.delay > timedelta(0):
            return Transition(entered, Verdict.APPLIED, tuple(emits))
    finished = _decided(c, progress, Outcome.CONTINUE)
    return Transition(finished, Verdict.APPLIED, (*emits, *emit.awaited(finished)))


def _start_again(c: _Context) -> Transition:
    """Begin another attempt of the current step, now."""
    step = c.progress.status.current_step
    entered = _started(c, c.progress, step, attempt=c.progress.attempt + 1, step_failures=c.progress.step_failures)
    return Transition(entered, Verdict.APPLIED, emit.awaited(entered))


def _back_off(c: _Context) -> Transition:
    """The step asks to be tried again: wait, or give up after too many failures."""
    event = c.event(PostprocessingStepFinished)
    reason = emit.error_of(event) or f"step {event.finished_step!r} asked for a retry"
    return _failed_attempt(c, reason)


def _failed_attempt(c: _Context, reason: str) -> Transition:
    progress = c.progress
    counted = msgspec.structs.replace(
        progress, failures=progress.failures + 1, step_failures=progress.step_failures + 1, last_error=reason
    )
    if counted.step_failures > c.policy.max_retries:
        given_up = _decided(c, counted, Outcome.ABORT)
        return Transition(given_up, Verdict.APPLIED, emit.awaited(given_up))
    pause = c.policy.backoff(counted.step_failures)
    waiting = msgspec.structs.replace(
        _changed(c, counted),
        status=Status(progress.status.current_step, RETRYING),
        resume_at=c.now + pause,
        deadline_at=None,
        announce_at=None,
        fraction=None,
    )
    return Transition(waiting, Verdict.APPLIED, (emit.retry(waiting, pause),))


def _stop(c: _Context) -> Transition:
    """The step decided the upload's fate; an outcome that we do not know is handed on as it is."""
    event = c.event(PostprocessingStepFinished)
    reason = emit.error_of(event) or c.progress.last_error
    progress = msgspec.structs.replace(c.progress, last_error=reason)
    decided = _decided(c, progress, event.outcome)
    return Transition(decided, Verdict.APPLIED, emit.awaited(decided))


def _note_progress(c: _Context) -> Transition:
    """The step is alive: put its deadline off."""
    event = c.event(PostprocessingStepProgress)
    alive = msgspec.structs.replace(
        c.progress,
        heard_at=c.now,
        announce_at=None,
        deadline_at=_deadline(c, c.progress.status.current_step),
        fraction=event.fraction,
        updated_at=c.now,
    )
    return Transition(alive, Verdict.APPLIED)


def _begin_delay(c: _Context) -> Transition:
    """A Go instance started the delay and kept the timer in its memory: write the timer down."""
    if c.progress.resume_at is not None:
        return Transition(c.progress, Verdict.DUPLICATE, reason="the delay runs already")
    waiting = msgspec.structs.replace(_changed(c, c.progress), resume_at=c.now + c.policy.delay)
    return Transition(waiting, Verdict.APPLIED)


def _resume_decided(c: _Context) -> Transition:
    """Say the decision again, as a new statement, since the first may have been lost on the other side."""
    again = msgspec.structs.replace(
        _changed(c, c.progress),
        attempt=c.progress.attempt + 1,
        announced=1,
        announce_at=_next_announcement(c, 0),
    )
    return Transition(again, Verdict.APPLIED, emit.awaited(again))


def _repeat(c: _Context) -> Transition:
    """Say again what is awaited, with the ID it had."""
    return Transition(c.progress, Verdict.REPEATED, emit.awaited(c.progress))


def _ask_for_restart(c: _Context) -> Transition:
    """Resume of an upload without a record: only the storage side can begin it anew."""
    event = c.event(ResumePostprocessing)
    if not event.upload_id:
        return Transition(None, Verdict.UNKNOWN, reason="no upload ID")
    return Transition(None, Verdict.APPLIED, (emit.restart(event, c.event_id),))


def _forget(c: _Context) -> Transition:
    """The upload is done, or no longer wanted: remove its record."""
    del c
    return Transition(None, Verdict.APPLIED)


def _keep_failed(c: _Context) -> Transition:
    """The storage side could not, or was not to, make the file available: keep the record for a restart."""
    failed = msgspec.structs.replace(
        _changed(c, c.progress), finished=True, announce_at=None, deadline_at=None, resume_at=None
    )
    return Transition(failed, Verdict.APPLIED)


def _tick(c: _Context) -> Transition:
    """Fire whatever timer is due; an early call does nothing."""
    progress = _unskewed(c)
    if progress.deadline_at is not None and progress.deadline_at <= c.now:
        lapsed = msgspec.structs.replace(c, before=progress)
        step = progress.status.current_step
        waited = c.policy.step_timeouts.get(step)
        return _failed_attempt(lapsed, f"step {step!r} gave no answer" + (f" within {waited}" if waited else ""))
    if progress.announce_at is not None and progress.announce_at <= c.now:
        said = msgspec.structs.replace(
            progress,
            announced=progress.announced + 1,
            announce_at=_next_announcement(c, progress.announced),
            updated_at=c.now,
        )
        return Transition(said, Verdict.APPLIED, emit.awaited(said))
    return _adjusted(c, progress)


def _tick_backoff(c: _Context) -> Transition:
    """The pause before the next attempt may be over. A record without a timer was left by a Go instance."""
    progress = _unskewed(c)
    if progress.resume_at is None or progress.resume_at <= c.now:
        return _start_again(msgspec.structs.replace(c, before=progress))
    return _adjusted(c, progress)


def _tick_delay(c: _Context) -> Transition:
    """The delay may be over."""
    progress = _unskewed(c)
    if progress.resume_at is None:
        return _begin_delay(c)
    if progress.resume_at <= c.now:
        return _advance(msgspec.structs.replace(c, before=progress))
    return _adjusted(c, progress)


def _adjusted(c: _Context, progress: Progress) -> Transition:
    if progress is c.progress:
        return Transition(progress, Verdict.IGNORED, reason="no timer is due")
    return Transition(progress, Verdict.APPLIED)


# --- building blocks --------------------------------------------------------------------------------------------------

_SKEW = timedelta(seconds=5)
"""Clocks of instances may differ by this much without anybody calling it a jump."""


def _unskewed(c: _Context) -> Progress:
    """Move the timers back when the clock was set back, so that a pause stays as long as it was meant to be."""
    progress = c.progress
    if progress.updated_at is None or c.now >= progress.updated_at - _SKEW:
        return progress
    jump = progress.updated_at - c.now

    def back(at: datetime | None) -> datetime | None:
        return None if at is None else at - jump

    return msgspec.structs.replace(
        progress,
        resume_at=back(progress.resume_at),
        deadline_at=back(progress.deadline_at),
        announce_at=back(progress.announce_at),
        updated_at=c.now,
    )


def _changed(c: _Context, progress: Progress) -> Progress:
    """Stamp a change, and remember the event that brought it."""
    handled = (*progress.handled, c.event_id)[-_HANDLED_KEPT:] if c.event_id else progress.handled
    return msgspec.structs.replace(progress, handled=handled, updated_at=c.now)


def _started(c: _Context, progress: Progress, step: str, *, attempt: int, step_failures: int) -> Progress:
    waits = step == DELAY
    return msgspec.structs.replace(
        _changed(c, progress),
        status=Status(step),
        attempt=attempt,
        step_failures=step_failures,
        step_started_at=c.now,
        heard_at=None,
        resume_at=c.now + c.policy.delay if waits else None,
        deadline_at=None if waits else _deadline(c, step),
        announced=1,
        announce_at=None if waits else _next_announcement(c, 0),
        fraction=None,
    )


def _decided(c: _Context, progress: Progress, outcome: str) -> Progress:
    return msgspec.structs.replace(
        _changed(c, progress),
        status=Status(FINISHED, str(outcome)),
        attempt=1,
        step_started_at=c.now,
        heard_at=None,
        resume_at=None,
        deadline_at=None,
        announced=1,
        announce_at=_next_announcement(c, 0),
        fraction=None,
    )


def _deadline(c: _Context, step: str) -> datetime | None:
    timeout = c.policy.step_timeouts.get(step)
    return None if timeout is None else c.now + timeout


def _next_announcement(c: _Context, announced: int) -> datetime | None:
    pauses = c.policy.announce_after
    return c.now + pauses[announced] if announced < len(pauses) else None


# --- the table --------------------------------------------------------------------------------------------------------

Rule = Callable[[_Context], Transition]

_ENTERED = (State.STEP, State.DELAY, State.FINISHED)

TABLE: dict[tuple[State, Kind], tuple[Rule, tuple[State, ...]]] = {
    (State.NONE, Kind.RECEIVED): (_begin, _ENTERED),
    (State.NONE, Kind.RESUME): (_ask_for_restart, (State.NONE,)),
    (State.STEP, Kind.RECEIVED): (_begin, _ENTERED),
    (State.STEP, Kind.CONTINUE): (_advance, _ENTERED),
    (State.STEP, Kind.RETRY): (_back_off, (State.BACKOFF, State.FINISHED)),
    (State.STEP, Kind.STOP): (_stop, (State.FINISHED,)),
    (State.STEP, Kind.PROGRESS): (_note_progress, (State.STEP,)),
    (State.STEP, Kind.RELEASED): (_forget, (State.NONE,)),
    (State.STEP, Kind.RESUME): (_start_again, (State.STEP,)),
    (State.STEP, Kind.CANCEL): (_forget, (State.NONE,)),
    (State.STEP, Kind.TICK): (_tick, (State.STEP, State.BACKOFF, State.FINISHED)),
    (State.STEP, Kind.ANNOUNCE): (_repeat, (State.STEP,)),
    (State.BACKOFF, Kind.RECEIVED): (_begin, _ENTERED),
    (State.BACKOFF, Kind.CONTINUE): (_advance, _ENTERED),
    (State.BACKOFF, Kind.STOP): (_stop, (State.FINISHED,)),
    (State.BACKOFF, Kind.RELEASED): (_forget, (State.NONE,)),
    (State.BACKOFF, Kind.RESUME): (_start_again, (State.STEP,)),
    (State.BACKOFF, Kind.CANCEL): (_forget, (State.NONE,)),
    (State.BACKOFF, Kind.TICK): (_tick_backoff, (State.BACKOFF, State.STEP)),
    (State.DELAY, Kind.RECEIVED): (_begin, _ENTERED),
    (State.DELAY, Kind.DELAY_STARTED): (_begin_delay, (State.DELAY,)),
    (State.DELAY, Kind.RELEASED): (_forget, (State.NONE,)),
    (State.DELAY, Kind.RESUME): (_repeat, (State.DELAY,)),
    (State.DELAY, Kind.CANCEL): (_forget, (State.NONE,)),
    (State.DELAY, Kind.TICK): (_tick_delay, _ENTERED),
    (State.DELAY, Kind.ANNOUNCE): (_repeat, (State.DELAY,)),
    (State.FINISHED, Kind.RECEIVED): (_begin, _ENTERED),
    (State.FINISHED, Kind.RELEASED): (_forget, (State.NONE,)),
    (State.FINISHED, Kind.RELEASE_FAILED): (_keep_failed, (State.FAILED,)),
    (State.FINISHED, Kind.RESUME): (_resume_decided, (State.FINISHED,)),
    (State.FINISHED, Kind.CANCEL): (_forget, (State.NONE,)),
    (State.FINISHED, Kind.TICK): (_tick, (State.FINISHED,)),
    (State.FINISHED, Kind.ANNOUNCE): (_repeat, (State.FINISHED,)),
    (State.FAILED, Kind.RECEIVED): (_begin, _ENTERED),
    (State.FAILED, Kind.RELEASED): (_forget, (State.NONE,)),
    (State.FAILED, Kind.CANCEL): (_forget, (State.NONE,)),
}
