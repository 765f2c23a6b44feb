"""What is remembered of one upload on its way through postprocessing.

The first twelve fields are the record of the Go services, under their names and in their order, so that either side
can go on with an upload that the other began. The rest is ours and rides along in the same JSON; a record that lacks
it (because a Go instance rewrote it) is complete all the same.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from ..events.types import DELAY, ResourceId, User

FINISHED = "finished"
"""The value of `Status.current_step` once an outcome is decided; also what operators write for that state."""
ENDED = "ended"
"""The value of `Status.current_step` of an upload that is done, as long as it is remembered. A step may have this name
too: see `Progress.finished`."""
RETRYING = "retry"
"""The value of `Status.outcome` while an upload waits for its next attempt."""
SKEW = timedelta(seconds=5)
"""Clocks of instances may differ by this much without anybody calling it a jump."""


class State(StrEnum):
    """Where an upload stands. Derived from its progress, never stored."""

    NONE = "none"
    """Not known, or done and forgotten."""
    STEP = "step"
    """A step was started; its answer is awaited."""
    BACKOFF = "backoff"
    """The step will be tried again at `resume_at`."""
    DELAY = "delay"
    """The delay step runs until `resume_at`."""
    FINISHED = "finished"
    """The outcome is decided; the storage side has not confirmed it yet."""
    FAILED = "failed"
    """The storage side reported that the upload did not become available. Kept until restarted or removed."""
    ENDED = "ended"
    """Done. Remembered until `resume_at`, so that a late repeat of the event that began it does not begin it anew."""


class Status(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """The step an upload is in, and what was last said of it."""

    current_step: str
    outcome: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One upload's record. Times are aware and in UTC; None means "not set"."""

    upload_id: str = msgspec.field(name="ID")
    url: str = msgspec.field(name="URL", default="")
    """Where the bytes can be read while they are held back."""
    user: User | None = msgspec.field(name="User", default=None)
    impersonating_user: User | None = msgspec.field(name="ImpersonatingUser", default=None)
    filename: str = msgspec.field(name="Filename", default="")
    filesize: int = msgspec.field(name="Filesize", default=0)
    """Bytes."""
    resource_id: ResourceId | None = msgspec.field(name="ResourceID", default=None)
    steps: tuple[str, ...] = msgspec.field(name="Steps", default=())
    """The order of the steps, frozen when the run began."""
    status: Status = msgspec.field(name="Status")
    failures: int = msgspec.field(name="Failures", default=0)
    """Retry outcomes so far, over all steps of the run."""
    initiator_id: str = msgspec.field(name="InitiatorID", default="")
    finished: bool = msgspec.field(name="Finished", default=False)
    """True after the storage side has reported: that the upload failed, or, in `ENDED`, that it is done."""

    started_at: datetime | None = msgspec.field(name="StartTime", default=None)
    """When the run began."""
    run_id: str = msgspec.field(name="RunID", default="")
    """The event ID of the BytesReceived that began this run; a restart has another. Empty after a Go instance wrote
    the record: it said what is awaited, under an ID that nobody kept."""
    attempt: int = msgspec.field(name="Attempt", default=1)
    """Which start of the current step this is, counted from 1."""
    step_failures: int = msgspec.field(name="StepFailures", default=0)
    """Retry outcomes of the current step; see `failed_attempts`."""
    step_started_at: datetime | None = msgspec.field(name="StepStartedAt", default=None)
    """When the current attempt, delay or decision began."""
    heard_at: datetime | None = msgspec.field(name="HeardAt", default=None)
    """When the current step last gave a sign of life."""
    resume_at: datetime | None = msgspec.field(name="ResumeAt", default=None)
    """When a backoff or a delay ends."""
    deadline_at: datetime | None = msgspec.field(name="DeadlineAt", default=None)
    """When the current attempt counts as failed for lack of an answer."""
    announce_at: datetime | None = msgspec.field(name="AnnounceAt", default=None)
    """When what is awaited is to be asked for once more."""
    announced: int = msgspec.field(name="Announced", default=0)
    """How often it has been asked for."""
    handled: tuple[str, ...] = msgspec.field(name="Handled", default=())
    """The latest events acted on, by what tells their repeats (`events.identity`), newest last."""
    last_error: str = msgspec.field(name="LastError", default="")
    """Why the last attempt failed, for people."""
    fraction: float | None = msgspec.field(name="Fraction", default=None)
    """How far the current step says it is, from 0 to 1."""
    updated_at: datetime | None = msgspec.field(name="UpdatedAt", default=None)
    sent_at: datetime | None = msgspec.field(name="SentAt", default=None)
    """When the event that began this run was sent, as its sender says."""
    trace_parent: str = msgspec.field(name="TraceParent", default="")
    """W3C `traceparent` of what began the run, for what nobody's event leads to: timers, and what is said again."""

    @property
    def state(self) -> State:
        """Where the upload stands."""
        if self.finished:
            return State.ENDED if self.status.current_step == ENDED else State.FAILED
        if self.status.current_step == FINISHED:
            return State.FINISHED
        if self.status.current_step == DELAY:
            return State.DELAY
        if self.status.outcome == RETRYING:
            return State.BACKOFF
        return State.STEP

    @property
    def due_at(self) -> datetime | None:
        """When this upload next needs attention without anybody asking; None when only an event can move it."""
        first = self.resume_at
        for at in (self.deadline_at, self.announce_at):
            if at is not None and (first is None or at < first):
                first = at
        return first

    @property
    def run(self) -> str:
        """The run's identity, also for records that a Go instance wrote."""
        return self.run_id or self.upload_id

    @property
    def failed_attempts(self) -> int:
        """How many attempts of the current step have failed.

        A Go instance counts over all steps, and its count is all that is left of ours once it has written the record.
        """
        return self.failures if self.updated_at is None else self.step_failures

    def neglected(self, now: datetime) -> bool:
        """Tell whether no timer of this record can be relied on.

        So it is with a record that a Go instance wrote, which keeps its pauses in memory and knows no deadlines, and
        with one from the future, because the clock was set back.
        """
        if self.state is State.FAILED:
            return False
        return self.updated_at is None or now < self.updated_at - SKEW

    def stalled(self, now: datetime, after_seconds: float) -> bool:
        """Tell whether an answer has been awaited for longer than `after_seconds` without a sign of life."""
        if self.state not in (State.STEP, State.FINISHED):
            return False
        since = self.heard_at or self.step_started_at
        return since is None or (now - since).total_seconds() > after_seconds
