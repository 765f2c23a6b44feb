"""Points in the life of an upload, by the calls of the ports that are made there, and a death at one of them.

A point is a call with what it is about: `catalogue.change receiving > processing`, `bus.publish BytesReceived`. So it
is the same one in every run, whichever way the tasks of the server take turns.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from penstock.core.progress import Progress
from penstock.events.types import (
    Envelope,
    PostprocessingFinished,
    PostprocessingStepFinished,
    StartPostprocessingStep,
)
from penstock.testing.faults import Faults, kill_process
from penstock.testing.faults.faults import Call
from penstock.uploads.catalogue.journal import Happening
from penstock.uploads.upload import Upload


class Death(msgspec.Struct, frozen=True):
    """When a process ends itself."""

    when: str
    """`before` or `after` the call."""
    point: str
    number: int = 1
    """At which of the calls that are made at this point, counted from 1. One that fails has no "after": then the next
    one counts."""

    def __str__(self) -> str:
        return f"{self.when} {self.point}" + (f" {self.number}" if self.number > 1 else "")


class Deaths(Faults):
    """Ends the process at one point, and counts how often it came by each."""

    def __init__(self, death: Death | None) -> None:
        super().__init__()
        self.points: Counter[str] = Counter()
        self._death = death
        self._handled: set[str] = set()

    def begin(self, name: str, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None) -> Call:
        """Count a call, and end the process if this is where it is to end."""
        call = super().begin(name, arguments, named)
        point = " ".join(filter(None, [name, self._subject(name, arguments)]))
        self.points[point] += 1
        death = self._death
        if death is None or point != death.point or self.points[point] < death.number:
            return call
        dies = (kill_process(),)
        return Call(name, before=dies) if death.when == "before" else Call(name, after=dies)

    def _subject(self, name: str, arguments: tuple[Any, ...]) -> str:
        match name, arguments:
            case "bus.publish", envelopes:
                return " + ".join(sorted({_said(envelope) for envelope in envelopes}))
            case "bus.subscribe.handler", (Envelope(event_id=event_id) as envelope, *_):
                # What is handled twice goes to two groups: one of them is over, the other one not.
                again = event_id in self._handled
                self._handled.add(event_id)
                return _said(envelope) + (" by another" if again else "")
            case "store.save", (Progress() as progress, *_):
                return _standing(progress)
            case "catalogue.change", (Upload() as before, Upload() as after, *_):
                return f"{before.phase} > {after.phase}"
            case "catalogue.note", (_, happenings, *_):
                return " + ".join(map(_happened, happenings))
            case _:
                return ""


def _said(envelope: Envelope) -> str:
    match envelope.event:
        case StartPostprocessingStep(step_to_start=step):
            return f"Start {step}"
        case PostprocessingStepFinished(finished_step=step, outcome=outcome):
            return f"StepFinished {step} {outcome}"
        case PostprocessingFinished(outcome=outcome):
            return f"Finished {outcome}"
        case event:
            return type(event).__name__.removeprefix("Postprocessing")


def _standing(progress: Progress) -> str:
    status = progress.status
    return f"{progress.state} {status.outcome if progress.state == 'finished' else status.current_step}"


def _happened(happening: Happening) -> str:
    details = happening.details
    return " ".join(filter(None, [happening.kind.value, details.step, details.outcome]))
