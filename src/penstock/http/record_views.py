"""The coordinator's records as the API shows them, and what was done with uploads."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from ..core.progress import State
from ..postprocessing.commands import Row


class RecordView(BaseModel):
    """A coordinator's record: what `ShownRecord` is sent as."""

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
