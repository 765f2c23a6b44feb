"""What goes into the machine and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias, TypeVar

import msgspec

from ..events.identity import identity
from ..events.types import Envelope
from .emit import Emit
from .policy import Policy
from .progress import Progress
from .runs import sent_at


class Tick(msgspec.Struct, frozen=True):
    """A timer of the upload may be due."""


class Announce(msgspec.Struct, frozen=True):
    """What the upload awaits may never have been said: say it again.

    Sent to every record after a start on a bus that forgets, and where a stream was lost.
    """


Input: TypeAlias = Envelope | Tick | Announce


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


_E = TypeVar("_E")


class Context(msgspec.Struct, frozen=True):
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
        """The ID of the event that came in; empty for our own inputs."""
        return self.received.event_id if isinstance(self.received, Envelope) else ""

    @property
    def identity(self) -> str:
        """What repeats of the event that came in have in common; empty for our own inputs, and if it has no ID."""
        return identity(self.received) if isinstance(self.received, Envelope) else ""

    @property
    def initiator_id(self) -> str:
        """The client that began the upload, as the event that came in says; empty for our own inputs."""
        return self.received.initiator_id if isinstance(self.received, Envelope) else ""

    @property
    def sent_at(self) -> datetime | None:
        """When the event that came in was sent; None for our own inputs, and for events that do not say."""
        return sent_at(self.received) if isinstance(self.received, Envelope) else None

    def event(self, kind: type[_E]) -> _E:
        """The input's event, in rules for inputs of that kind."""
        if isinstance(self.received, Envelope) and isinstance(self.received.event, kind):
            return self.received.event
        raise TypeError(f"this rule is for {kind.__name__}")


Rule: TypeAlias = Callable[[Context], Transition]
"""What a state makes of a kind of input."""
