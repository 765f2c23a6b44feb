"""What of a record is shown to people and to their programs."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ..core.progress import RETRYING, Progress, State


class ShownRecord(msgspec.Struct, frozen=True):
    """A coordinator's record, as lists show it."""

    id: str
    filename: str
    size: int
    step: str
    state: State
    attempt: int
    failures: int
    next_try_at: datetime | None
    age_seconds: float
    last_error: str
    stalled: bool
    outcome: str

    @classmethod
    def of(cls, progress: Progress, now: datetime, stalled_after_seconds: float) -> ShownRecord:
        """Show a record."""
        outcome = progress.status.outcome
        return cls(
            id=progress.upload_id,
            filename=progress.filename,
            size=progress.filesize,
            step=progress.status.current_step,
            state=progress.state,
            attempt=progress.attempt,
            failures=progress.failures,
            next_try_at=progress.resume_at,
            age_seconds=(now - progress.started_at).total_seconds() if progress.started_at else 0.0,
            last_error=progress.last_error,
            stalled=progress.stalled(now, stalled_after_seconds),
            outcome="" if outcome == RETRYING else outcome,
        )
