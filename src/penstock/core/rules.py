"""The rules: what follows from one kind of input in one state. `machine.TABLE` says which rule applies where."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from ..events.types import (
    DELAY,
    BytesReceived,
    Outcome,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    ResumePostprocessing,
)
from ..ids import derived_id
from . import emit
from .mend import reliable
from .progress import ENDED, FINISHED, RETRYING, Progress, State, Status
from .runs import is_numbered
from .transition import Context, Transition, Verdict

if TYPE_CHECKING:
    from ..events.types import User
    from .emit import Emit

_RESTARTER = "postprocessing-restart"
"""The user whom the Go storage provider names after RestartPostprocessing, having forgotten the real one."""
_HANDLED_KEPT = 16
"""How many events a record remembers. A foreign step service cannot have more results in flight than this."""


def begin(c: Context) -> Transition:
    """All bytes are there: start the first step. On a known upload, with another event ID, this is a restart."""
    event = c.event(BytesReceived)
    fresh = Progress(
        upload_id=event.upload_id,
        url=event.url,
        user=_uploader(c, event),
        impersonating_user=event.impersonating_user,
        filename=event.filename,
        filesize=event.filesize,
        resource_id=event.resource_id,
        steps=c.policy.steps_for(event),
        status=Status(FINISHED),
        initiator_id=c.initiator_id or ("" if c.before is None else c.before.initiator_id),
        started_at=c.now,
        run_id=c.event_id or _new_run_id(c, event.upload_id),
        handled=() if c.before is None else c.before.handled,
        sent_at=c.sent_at,
    )
    return _enter(c, fresh, after=None)


def _uploader(c: Context, event: BytesReceived) -> User | None:
    """Return who uploaded the file. The Go storage provider names a placeholder when it announces an upload again."""
    user = event.executing_user
    anonymous = user is None or (user.id is not None and user.id.opaque_id == _RESTARTER)
    return c.before.user if anonymous and c.before is not None and c.before.user is not None else user


def advance(c: Context) -> Transition:
    """The current step is done: start the following one, or finish."""
    return _enter(c, c.progress, after=c.progress.status.current_step)


def _enter(c: Context, progress: Progress, *, after: str | None) -> Transition:
    """Start the step that follows `after` (None: the first), or finish with `continue`.

    A delay step of no duration is announced, as the Go service does, and passed at once.
    """
    emits: list[Emit] = []
    progress = msgspec.structs.replace(progress, last_error="")
    if after is not None and after not in progress.steps:
        # The record was damaged: run everything rather than let the file pass.
        progress = msgspec.structs.replace(progress, steps=progress.steps or c.policy.every_step)
        after = None
    steps = tuple(dict.fromkeys(progress.steps))  # a Go instance may have listed a step twice, and would never end
    for step in steps if after is None else steps[steps.index(after) + 1 :]:
        entered = _started(c, progress, step, attempt=1, step_failures=0)
        emits.extend(emit.awaited(entered))
        if step != DELAY or c.policy.delay > timedelta(0):
            return Transition(entered, Verdict.APPLIED, tuple(emits))
    finished = _decided(c, progress, Outcome.CONTINUE)
    return Transition(finished, Verdict.APPLIED, (*emits, *emit.awaited(finished)))


def start_again(c: Context) -> Transition:
    """Begin another attempt of the current step, now."""
    step = c.progress.status.current_step
    entered = _started(c, c.progress, step, attempt=c.progress.attempt + 1, step_failures=c.progress.failed_attempts)
    return Transition(entered, Verdict.APPLIED, emit.awaited(entered))


def back_off(c: Context) -> Transition:
    """The step asks to be tried again: wait, or give up after too many failures."""
    event = c.event(PostprocessingStepFinished)
    reason = emit.error_of(event) or f"step {event.finished_step!r} asked for a retry"
    return _failed_attempt(c, reason)


def _failed_attempt(c: Context, reason: str) -> Transition:
    progress = c.progress
    counted = msgspec.structs.replace(
        progress, failures=progress.failures + 1, step_failures=progress.failed_attempts + 1, last_error=reason
    )
    if counted.step_failures > c.policy.max_retries:
        given_up = _decided(c, counted, Outcome.ABORT)
        return Transition(given_up, Verdict.APPLIED, emit.awaited(given_up))
    waiting = msgspec.structs.replace(
        _changed(c, counted),
        status=Status(progress.status.current_step, RETRYING),
        resume_at=c.now + c.policy.backoff(counted.step_failures),
        deadline_at=None,
        announce_at=None,
        fraction=None,
    )
    return Transition(waiting, Verdict.APPLIED, emit.said(waiting))


def stop(c: Context) -> Transition:
    """The step decided the upload's fate; an outcome that we do not know is handed on as it is."""
    event = c.event(PostprocessingStepFinished)
    reason = emit.error_of(event) or c.progress.last_error
    progress = msgspec.structs.replace(c.progress, last_error=reason)
    decided = _decided(c, progress, event.outcome)
    return Transition(decided, Verdict.APPLIED, emit.awaited(decided))


def note_progress(c: Context) -> Transition:
    """The step is alive: put its deadline off."""
    event = c.event(PostprocessingStepProgress)
    alive = msgspec.structs.replace(
        reliable(c),
        heard_at=c.now,
        announce_at=None,
        deadline_at=c.policy.deadline(c.progress.status.current_step, c.now),
        fraction=event.fraction,
        updated_at=c.now,
    )
    return Transition(alive, Verdict.APPLIED)


def begin_delay(c: Context) -> Transition:
    """A Go instance started the delay and kept the timer in its memory: write the timer down."""
    if c.progress.resume_at is not None:
        return Transition(c.progress, Verdict.DUPLICATE, reason="the delay runs already")
    waiting = msgspec.structs.replace(_changed(c, c.progress), resume_at=c.now + c.policy.delay)
    return Transition(waiting, Verdict.APPLIED)


def resume_decided(c: Context) -> Transition:
    """Say the decision again, as a new statement, since the first may have been lost on the other side."""
    again = msgspec.structs.replace(
        _changed(c, c.progress),
        attempt=c.progress.attempt + 1,
        announced=1,
        announce_at=c.policy.announcement(1, c.now),
    )
    return Transition(again, Verdict.APPLIED, emit.awaited(again))


def repeat(c: Context) -> Transition:
    """Say again what is awaited, with the ID it had."""
    return Transition(c.progress, Verdict.REPEATED, emit.awaited(c.progress))


def announce(c: Context) -> Transition:
    """Say again what the bus may have forgotten: the step begins anew, and so does the time that it may take."""
    if c.progress.deadline_at is None:
        return repeat(c)
    again = msgspec.structs.replace(
        reliable(c),
        deadline_at=c.policy.deadline(c.progress.status.current_step, c.now),
        announced=1,
        announce_at=c.policy.announcement(1, c.now),
        updated_at=c.now,
    )
    return Transition(again, Verdict.APPLIED, emit.awaited(again))


def ask_for_restart(c: Context) -> Transition:
    """Resume of an upload without a record: only the storage side can begin it anew."""
    event = c.event(ResumePostprocessing)
    if not event.upload_id:
        return Transition(None, Verdict.UNKNOWN, reason="no upload ID")
    return Transition(None, Verdict.APPLIED, (emit.restart(event.upload_id, c.event_id, c.now),))


def forget(c: Context) -> Transition:
    """The upload is done, or no longer wanted: remove its record, or keep only what tells repeats by."""
    if c.policy.ended_kept <= timedelta(0):
        return Transition(None, Verdict.APPLIED)
    before = _changed(c, c.progress)
    ended = Progress(
        upload_id=before.upload_id,
        status=Status(ENDED, before.status.outcome),
        finished=True,
        run_id=before.run_id,
        handled=before.handled,
        sent_at=before.sent_at,
        resume_at=c.now + c.policy.ended_kept,
        updated_at=c.now,
    )
    return Transition(ended, Verdict.APPLIED)


def tick_ended(c: Context) -> Transition:
    """Forget what was remembered for long enough."""
    progress = reliable(c)
    if progress.resume_at is not None and progress.resume_at > c.now:
        return _adjusted(c, progress)
    return Transition(None, Verdict.APPLIED)


def keep_failed(c: Context) -> Transition:
    """The storage side could not, or was not to, make the file available: keep the record for a restart.

    After `delete` the bytes are gone, so there is nothing to restart.
    """
    if c.progress.status.outcome == Outcome.DELETE:
        return forget(c)
    failed = msgspec.structs.replace(
        _changed(c, c.progress), finished=True, announce_at=None, deadline_at=None, resume_at=None
    )
    return Transition(failed, Verdict.APPLIED)


def tick(c: Context) -> Transition:
    """Fire whatever timer is due; an early call does nothing."""
    progress = reliable(c)
    if progress.deadline_at is not None and progress.deadline_at <= c.now:
        lapsed = msgspec.structs.replace(c, before=progress)
        step = progress.status.current_step
        waited = c.policy.step_timeouts.get(step)
        return _failed_attempt(lapsed, f"step {step!r} gave no answer" + (f" within {waited}" if waited else ""))
    if progress.announce_at is not None and progress.announce_at <= c.now:
        decided = progress.state is State.FINISHED and is_numbered(progress)
        said = msgspec.structs.replace(
            progress,
            announced=progress.announced + 1,
            announce_at=c.policy.announcement(progress.announced + 1, c.now, decided=decided),
            updated_at=c.now,
        )
        return Transition(said, Verdict.APPLIED, emit.awaited(said))
    return _adjusted(c, progress)


def tick_backoff(c: Context) -> Transition:
    """The pause before the next attempt may be over. A record without a timer was left by a Go instance."""
    progress = reliable(c)
    if progress.resume_at is None or progress.resume_at <= c.now:
        return start_again(msgspec.structs.replace(c, before=progress))
    return _adjusted(c, progress)


def tick_delay(c: Context) -> Transition:
    """The delay may be over. A record without a timer was left by a Go instance."""
    progress = reliable(c)
    if progress.resume_at is None:
        return begin_delay(msgspec.structs.replace(c, before=progress))
    if progress.resume_at <= c.now:
        return advance(msgspec.structs.replace(c, before=progress))
    return _adjusted(c, progress)


def _adjusted(c: Context, progress: Progress) -> Transition:
    if progress is c.progress:
        return Transition(progress, Verdict.IGNORED, reason="no timer is due")
    return Transition(progress, Verdict.APPLIED)


# --- building blocks --------------------------------------------------------------------------------------------------


def _new_run_id(c: Context, upload_id: str) -> str:
    """Name a run whose first event had no ID, or was handled by a Go instance, which does not keep it."""
    return derived_id(upload_id, c.now.isoformat())


def _changed(c: Context, progress: Progress) -> Progress:
    """Stamp a change, and remember the event that brought it."""
    known = c.identity
    handled = (*progress.handled, known)[-_HANDLED_KEPT:] if known else progress.handled
    return msgspec.structs.replace(progress, handled=handled, updated_at=c.now)


def _started(c: Context, progress: Progress, step: str, *, attempt: int, step_failures: int) -> Progress:
    waits = step == DELAY
    return msgspec.structs.replace(
        _changed(c, progress),
        run_id=progress.run_id or _new_run_id(c, progress.upload_id),
        status=Status(step),
        attempt=attempt,
        step_failures=step_failures,
        step_started_at=c.now,
        heard_at=None,
        resume_at=c.now + c.policy.delay if waits else None,
        deadline_at=None if waits else c.policy.deadline(step, c.now),
        announced=1,
        announce_at=None if waits else c.policy.announcement(1, c.now),
        fraction=None,
    )


def _decided(c: Context, progress: Progress, outcome: str) -> Progress:
    return msgspec.structs.replace(
        _changed(c, progress),
        run_id=progress.run_id or _new_run_id(c, progress.upload_id),
        status=Status(FINISHED, str(outcome)),
        attempt=1,
        step_started_at=c.now,
        heard_at=None,
        resume_at=None,
        deadline_at=None,
        announced=1,
        announce_at=c.policy.announcement(1, c.now),
        fraction=None,
    )
