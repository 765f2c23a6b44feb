"""The coordinator's records as the API shows them, and what was done with uploads."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from ..core.progress import RETRYING, Progress, State
from ..postprocessing.commands import Row


class RecordView(BaseModel):
    """A coordinator's record."""

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
    def of(cls, progress: Progress, now: datetime, stalled_after_seconds: float) -> RecordView:
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


class RowView(BaseModel):
    """What an action did to one upload."""

    id: str
    filename: str
    action: str
    step: str
    ok: bool
    detail: str

    @classmethod
    def of(cls, row: Row) -> RowView:
        """Show a row."""
        return cls(id=row.id, filename=row.filename, action=row.action, step=row.step, ok=row.ok, detail=row.detail)


class Results(BaseModel):
    """A row for each upload that an action was about."""

    results: list[RowView]


class RecordPage(BaseModel):
    """Some records."""

    records: list[RecordView]
    more: Annotated[int, Field(description="How many more there are than the limit allowed to show.")]
