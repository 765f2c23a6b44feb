"""Writes down what the steps of an upload say, for those who follow it; what the gateway does is in the journal anyway.

These entries are for people to watch. Nothing is decided by them, so one that a crash takes away is not made up for:
the entry of the step that follows, or of the end, tells where the upload is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..core.emit import error_of
from ..events.types import (
    Envelope,
    Event,
    PostprocessingRetry,
    PostprocessingStepFinished,
    StartPostprocessingStep,
)
from . import journal
from .journal import Details, Happening, Kind
from .runs import attempt_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ..bus.base import Bus
    from ..clock import Clock
    from ..db import Database
    from .feed import Feed

GROUP: Final = "feed"
_CONSUMED: Final[tuple[type[Event], ...]] = (StartPostprocessingStep, PostprocessingStepFinished, PostprocessingRetry)
_RUNS_TRIED: Final = 3
"""An attempt's number is read off its event's ID; for an upload that was restarted more often it is left out."""


class Recorder:
    """Listens to the bus and appends to the journal."""

    def __init__(self, *, database: Database, feed: Feed, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._feed = feed
        self._bus = bus
        self._clock = clock

    def subscribe(self, *, workers: int = 4) -> AbstractAsyncContextManager[None]:
        """Write events down while the returned context is open."""
        return self._bus.subscribe(GROUP, _CONSUMED, self.handle, workers=workers)

    async def handle(self, envelope: Envelope) -> None:
        """Write one event down, once, unless its upload is gone.

        Raises:
            DatabaseUnavailable: it was not written.
        """
        event = envelope.event
        match event:
            case StartPostprocessingStep():
                kind = Kind.STEP_STARTED
                details = Details(filename=event.filename, step=event.step_to_start, attempt=_attempt(envelope))
            case PostprocessingStepFinished():
                kind = Kind.STEP_FINISHED
                details = Details(
                    filename=event.filename, step=event.finished_step, outcome=event.outcome, reason=error_of(event)
                )
            case PostprocessingRetry():
                kind = Kind.RETRY
                next_try_at = self._clock.now() + event.backoff_duration
                details = Details(filename=event.filename, attempt=event.failures, next_try_at=next_try_at)
            case _:
                return
        happening = Happening(
            key=envelope.event_id or envelope.id,
            upload_id=event.upload_id,
            at=self._clock.now(),
            kind=kind,
            details=details,
        )
        await self._database.write(lambda connection: journal.append_to_living(connection, [happening]))
        self._feed.wake()


def _attempt(envelope: Envelope) -> int | None:
    event = envelope.event
    if not isinstance(event, StartPostprocessingStep):
        return None
    for run in range(1, _RUNS_TRIED + 1):
        attempt = attempt_of(envelope.event_id, event.upload_id, run, event.step_to_start)
        if attempt is not None:
            return attempt
    return None
