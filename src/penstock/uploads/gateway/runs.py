"""The IDs by which the events of one run of postprocessing are recognised.

A run begins with a BytesReceived whose event ID is derived from the upload and the number of the run; the coordinator
derives all IDs of the run from that one. So an event tells which run, step and attempt it belongs to, by its ID alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...core.emit import awaited_id
from ...core.progress import FINISHED, Progress, Status
from ...core.runs import run_id

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["attempt_of", "decides_earlier_run", "run_id", "start_id"]

_ATTEMPTS: Final = 64
"""How many attempts are tried out; whoever retried more often is not recognised."""


def start_id(upload_id: str, run: int, step: str, attempt: int) -> str:
    """Return the event ID of the start of a step's attempt, counted from 1; of the decision for step `finished`."""
    return awaited_id(
        Progress(upload_id=upload_id, run_id=run_id(upload_id, run), status=Status(step), attempt=attempt)
    )


def attempt_of(event_id: str, upload_id: str, run: int, step: str, *, first: int = 1) -> int | None:
    """Return which attempt of `step` in `run` the event begins; None if it is none of that run.

    `first` is the attempt to try first, where there is one to be expected.
    """
    attempts: Iterable[int] = (first, *range(1, _ATTEMPTS + 1))
    return next((n for n in attempts if start_id(upload_id, run, step, n) == event_id), None)


def decides_earlier_run(event_id: str, upload_id: str, run: int) -> bool:
    """Tell whether a decision was made in a run before `run`, and so says nothing about the present one.

    A decision with an ID that is not derived (from another coordinator) is taken for the present run's.
    """
    if run <= 1 or attempt_of(event_id, upload_id, run, FINISHED) is not None:
        return False
    return any(attempt_of(event_id, upload_id, earlier, FINISHED) is not None for earlier in range(run - 1, 0, -1))
