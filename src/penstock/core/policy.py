"""The operator's choices that the state machine follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

import msgspec

from ..errors import ConfigurationError
from ..events.types import DELAY
from .choice import StepRule, choose
from .progress import FINISHED

if TYPE_CHECKING:
    from ..events.types import BytesReceived

_ZERO = timedelta(0)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How uploads are processed. Read by the machine at each event, so a changed value counts at once.

    Only the steps are frozen into an upload when its run begins.
    """

    steps: tuple[str, ...] = ()
    """The steps in order, of uploads that no rule fits. Empty: they are released as soon as all bytes are there."""
    rules: tuple[StepRule, ...] = ()
    """The first one that fits an upload says what its steps are."""
    delay: timedelta = _ZERO
    """How long the delay step waits."""
    max_retries: int = 14
    """How many retry outcomes one step may have; one more aborts the upload."""
    retry_backoff: timedelta = timedelta(seconds=5)
    """The pause before the first retry; doubled for each further one."""
    max_backoff: timedelta = timedelta(hours=24)
    """No pause is longer than this, whatever the formula says."""
    step_timeouts: Mapping[str, timedelta] = msgspec.field(default_factory=dict[str, timedelta])
    """By step name: how long an attempt may go without an answer or a sign of life. Others wait for ever."""
    ended_kept: timedelta = _ZERO
    """How long an upload that is done is remembered in the store, so that a late repeat of the event that began it
    does not begin it anew. Zero where no other instance could get such a repeat: each remembers what it has ended."""
    announce_after: tuple[timedelta, ...] = (
        timedelta(seconds=15),
        timedelta(seconds=30),
        timedelta(seconds=60),
    )
    """Pauses after which an unanswered start or decision is said again, with the same event ID. Their sum stays
    within the 120 s in which JetStream recognises repeated IDs, so a repeat costs nothing where the first arrived."""
    decision_again_after: timedelta = timedelta(seconds=135)
    """One more pause for decisions about what our own storage side began, which recognises repeats by itself. After it
    even what was first heard at the last of the others is repeated for JetStream as well, so that the storage side says
    again what it has done, should that have been lost."""

    @classmethod
    def create(cls, steps: Sequence[str], *, delay: timedelta = _ZERO, **others: object) -> Self:
        """Build a policy from what the operator wrote.

        A delay that is set but not listed among the steps becomes the last one; `appends_delay` tells beforehand. The
        steps of a rule are exactly those that it names.

        Raises:
            ConfigurationError: a step is named twice, or has a reserved or empty name.
        """
        ordered = tuple(steps)
        if appends_delay(ordered, delay):
            ordered += (DELAY,)
        for name in ordered:
            if ordered.count(name) > 1:
                raise ConfigurationError(f"step {name!r} is listed twice; name each step once.")
            if not name.strip() or name == FINISHED:
                raise ConfigurationError(f"{name!r} cannot be the name of a step; choose another word.")
        return cls(steps=ordered, delay=delay, **others)  # type: ignore[arg-type]  # checked by the struct's fields

    def steps_for(self, received: BytesReceived) -> tuple[str, ...]:
        """Return the steps for one upload, in order."""
        rule = choose(self.rules, received)
        return self.steps if rule is None else rule.steps

    @property
    def every_step(self) -> tuple[str, ...]:
        """All steps that some upload may go through, each once: those of the plain list first."""
        return tuple(dict.fromkeys((*self.steps, *(step for rule in self.rules for step in rule.steps))))

    def backoff(self, failures: int) -> timedelta:
        """Return the pause after the `failures`-th failure: `retry_backoff * 2^(failures - 1)`, at most `max_backoff`.

        With a base of 5 s: 5 s, 10 s, 20 s, 40 s …
        """
        if failures > 64:
            return self.max_backoff
        seconds = self.retry_backoff.total_seconds() * 2.0 ** (failures - 1)
        return self.max_backoff if seconds >= self.max_backoff.total_seconds() else timedelta(seconds=seconds)

    def deadline(self, step: str, now: datetime) -> datetime | None:
        """Return until when an attempt of `step` that is alive `now` must be heard of again; None for ever."""
        timeout = self.step_timeouts.get(step)
        return None if timeout is None else now + timeout

    def announcement(self, announced: int, now: datetime, *, decided: bool = False) -> datetime | None:
        """Return when to say again what was said `announced` times, just now for the last time; None for never.

        `decided`: it is a decision about what our own storage side began.
        """
        pauses = (*self.announce_after, self.decision_again_after) if decided else self.announce_after
        return now + pauses[announced - 1] if announced <= len(pauses) else None


def appends_delay(steps: Sequence[str], delay: timedelta) -> bool:
    """Tell whether `delay` will be appended as the last step because it is set but not listed."""
    return delay > _ZERO and DELAY not in steps
