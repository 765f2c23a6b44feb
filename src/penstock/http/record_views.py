"""The coordinator's records as the API shows them, and what was done with uploads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import msgspec
from pydantic import BaseModel, Field

from ..postprocessing.commands import Row
from ..postprocessing.shown import ShownRecord
from .described import model_of

RecordView = model_of(ShownRecord, "RecordView")


RowView = model_of(Row, "RowView")


class Results(BaseModel):
    """A row for each upload that an action was about."""

    results: list[RowView]  # type: ignore[valid-type]  # made while the program runs

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Self:
        """Show rows."""
        return cls(results=[RowView(**msgspec.structs.asdict(row)) for row in rows])


class RecordPage(BaseModel):
    """Some records."""

    records: list[RecordView]  # type: ignore[valid-type]  # made while the program runs
    more: Annotated[int, Field(description="How many more there are than the limit allowed to show.")]
