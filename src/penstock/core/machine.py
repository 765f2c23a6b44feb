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

from typing import TYPE_CHECKING, Final

from ..events.identity import identity
from ..events.types import (
    DELAY,
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    Event,
    Outcome,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    ResumePostprocessing,
    StartPostprocessingStep,
    UploadReady,
)
from . import emit, rules
from .progress import Progress, State
from .runs import is_of_earlier_run
from .transition import Announce, Context, Input, Kind, Rule, Tick, Transition, Verdict

if TYPE_CHECKING:
    from datetime import datetime

    from .policy import Policy


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
    return rule(Context(progress, received, now, policy))


def kind_of(received: Input) -> Kind | None:
    """Classify an input; None for event types that are not for the coordinator."""
    if isinstance(received, Tick):
        return Kind.TICK
    if isinstance(received, Announce):
        return Kind.ANNOUNCE
    event = received.event
    if isinstance(event, PostprocessingStepFinished):
        return _OUTCOMES.get(event.outcome, Kind.STOP)
    if isinstance(event, UploadReady):
        return Kind.RELEASE_FAILED if event.failed else Kind.RELEASED
    if isinstance(event, StartPostprocessingStep):
        return Kind.DELAY_STARTED if event.step_to_start == DELAY else None
    return _KINDS.get(type(event))


_OUTCOMES: Final[dict[str, Kind]] = {Outcome.CONTINUE: Kind.CONTINUE, Outcome.RETRY: Kind.RETRY}
_KINDS: Final[dict[type, Kind]] = {
    BytesReceived: Kind.RECEIVED,
    PostprocessingStepProgress: Kind.PROGRESS,
    ResumePostprocessing: Kind.RESUME,
    CancelPostprocessing: Kind.CANCEL,
}


def _recognise(progress: Progress, received: Envelope, kind: Kind) -> Transition | None:
    """Return the answer to an input that was handled before or is about the past; None when it is news.

    The input that led to the present state may come again because its reader died after saving and before
    publishing: what follows from it is said again.
    """
    known = identity(received)
    if known and (known in progress.handled or known == progress.run_id):
        if progress.handled and known == progress.handled[-1]:
            return Transition(progress, Verdict.REPEATED, emit.said(progress))
        return Transition(progress, Verdict.DUPLICATE, reason="acted on earlier")
    if kind is Kind.RECEIVED and is_of_earlier_run(received, progress):
        return Transition(progress, Verdict.STALE, reason="begins a run before the present one")
    step, current = _step_of(received.event), progress.status.current_step
    if step is not None and step != current:
        return Transition(progress, Verdict.STALE, reason=f"about step {step!r}; now in {current!r}")
    question = received.causation_id if kind in _ANSWERS and progress.run_id else ""
    if question and question != emit.awaited_id(progress):
        return Transition(progress, Verdict.STALE, reason=f"{kind} of an earlier attempt or run")
    return None


def _step_of(event: Event) -> str | None:
    """Return the step that the upload has to be in for this event to be about it; None when that does not matter."""
    if isinstance(event, PostprocessingStepFinished):
        return event.finished_step
    if isinstance(event, PostprocessingStepProgress):
        return event.step
    return event.step or None if isinstance(event, ResumePostprocessing) else None


# What names its question where the sender can: it must be the one that is asked now. `UploadReady` without failure is
# not among these: whichever decision led to it, the file is available and the run is over.
_ANSWERS = (Kind.CONTINUE, Kind.RETRY, Kind.STOP, Kind.PROGRESS, Kind.RELEASE_FAILED)


_ENTERED = (State.STEP, State.DELAY, State.FINISHED)
_GONE = (State.ENDED, State.NONE)

TABLE: dict[tuple[State, Kind], tuple[Rule, tuple[State, ...]]] = {
    (State.NONE, Kind.RECEIVED): (rules.begin, _ENTERED),
    (State.NONE, Kind.RESUME): (rules.ask_for_restart, (State.NONE,)),
    (State.STEP, Kind.RECEIVED): (rules.begin, _ENTERED),
    (State.STEP, Kind.CONTINUE): (rules.advance, _ENTERED),
    (State.STEP, Kind.RETRY): (rules.back_off, (State.BACKOFF, State.FINISHED)),
    (State.STEP, Kind.STOP): (rules.stop, (State.FINISHED,)),
    (State.STEP, Kind.PROGRESS): (rules.note_progress, (State.STEP,)),
    (State.STEP, Kind.RELEASED): (rules.forget, _GONE),
    (State.STEP, Kind.RESUME): (rules.start_again, (State.STEP,)),
    (State.STEP, Kind.CANCEL): (rules.forget, _GONE),
    (State.STEP, Kind.TICK): (rules.tick, (State.STEP, State.BACKOFF, State.FINISHED)),
    (State.STEP, Kind.ANNOUNCE): (rules.announce, (State.STEP,)),
    (State.BACKOFF, Kind.RECEIVED): (rules.begin, _ENTERED),
    (State.BACKOFF, Kind.CONTINUE): (rules.advance, _ENTERED),
    (State.BACKOFF, Kind.STOP): (rules.stop, (State.FINISHED,)),
    (State.BACKOFF, Kind.RELEASED): (rules.forget, _GONE),
    (State.BACKOFF, Kind.RESUME): (rules.start_again, (State.STEP,)),
    (State.BACKOFF, Kind.CANCEL): (rules.forget, _GONE),
    (State.BACKOFF, Kind.TICK): (rules.tick_backoff, (State.BACKOFF, State.STEP)),
    (State.DELAY, Kind.RECEIVED): (rules.begin, _ENTERED),
    (State.DELAY, Kind.DELAY_STARTED): (rules.begin_delay, (State.DELAY,)),
    (State.DELAY, Kind.RELEASED): (rules.forget, _GONE),
    (State.DELAY, Kind.RESUME): (rules.repeat, (State.DELAY,)),
    (State.DELAY, Kind.CANCEL): (rules.forget, _GONE),
    (State.DELAY, Kind.TICK): (rules.tick_delay, _ENTERED),
    (State.DELAY, Kind.ANNOUNCE): (rules.repeat, (State.DELAY,)),
    (State.FINISHED, Kind.RECEIVED): (rules.begin, _ENTERED),
    (State.FINISHED, Kind.RELEASED): (rules.forget, _GONE),
    (State.FINISHED, Kind.RELEASE_FAILED): (rules.keep_failed, (State.FAILED, *_GONE)),
    (State.FINISHED, Kind.RESUME): (rules.resume_decided, (State.FINISHED,)),
    (State.FINISHED, Kind.CANCEL): (rules.forget, _GONE),
    (State.FINISHED, Kind.TICK): (rules.tick, (State.FINISHED,)),
    (State.FINISHED, Kind.ANNOUNCE): (rules.repeat, (State.FINISHED,)),
    (State.FAILED, Kind.RECEIVED): (rules.begin, _ENTERED),
    (State.FAILED, Kind.RELEASED): (rules.forget, _GONE),
    (State.FAILED, Kind.CANCEL): (rules.forget, _GONE),
    (State.ENDED, Kind.RECEIVED): (rules.begin, _ENTERED),
    (State.ENDED, Kind.TICK): (rules.tick_ended, (State.ENDED, State.NONE)),
}
