"""Which run of an upload is the later one.

The BytesReceived of an earlier run may arrive after that of the present one: it was delivered again, or overtaken. It
must not bring the earlier run back.

- Our own storage side numbers its runs, and derives the event ID from the number: the higher one is the later run.
- Others give random IDs. There the time of sending tells, unless the difference is so large that a clock that was set
  back is the better explanation: to drop a restart would be worse than to run the steps once more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ..events.gotime import ZERO_TIME, parse_time
from ..ids import derived_id

if TYPE_CHECKING:
    from ..events.types import Envelope
    from .progress import Progress

OVERTAKEN: Final = timedelta(hours=1)
"""An event that was sent this much earlier than the one that began the run was not overtaken by it any more."""
_RUNS: Final = 64
"""How many runs are tried out; whoever restarts an upload more often is judged by the time of sending."""


def run_id(upload_id: str, run: int) -> str:
    """Return the event ID of the BytesReceived that begins the `run`-th run of our storage side, counted from 1."""
    return derived_id(upload_id, "received", run)


def sent_at(envelope: Envelope) -> datetime | None:
    """Return when an event was sent, in UTC; None when it does not say, or says nonsense."""
    if envelope.timestamp == ZERO_TIME:
        return None
    try:
        at = parse_time(envelope.timestamp).astimezone(UTC)
    except (ValueError, OverflowError):  # the years 0 and 9999
        return None
    return None if at.year == 1 else at


def is_of_earlier_run(received: Envelope, progress: Progress) -> bool:
    """Tell whether a BytesReceived is of a run before the one that `progress` is in; False when that is not known."""
    if not progress.run_id:
        return False
    present, other = (_number(progress.upload_id, one) for one in (progress.run_id, received.event_id))
    if present is not None and other is not None:
        return other < present
    at = sent_at(received)
    if at is None or progress.sent_at is None:
        return False
    return at < progress.sent_at <= at + OVERTAKEN


def is_numbered(progress: Progress) -> bool:
    """Tell whether our own storage side began the run. It recognises what it is told twice."""
    return _number(progress.upload_id, progress.run_id) is not None


def _number(upload_id: str, event_id: str) -> int | None:
    return next((run for run in range(1, _RUNS + 1) if run_id(upload_id, run) == event_id), None)
