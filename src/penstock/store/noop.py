"""Stores nothing: needs nothing, leaves nothing behind, and forgets each upload between two events.

An upload without steps is released. One with steps never ends: the first answer finds no record and is dropped. Nor is
anything retried, delayed, resumed or listed. So it is for installations without steps, and for seeing what happens
without a memory, as with the Go services; at start there is a warning where steps are configured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .base import ProgressStore, Revision, RevisionConflict, Saved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from ..core.progress import Progress


class NoopStore(ProgressStore):
    """Takes every new record and gives none back."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def get(self, upload_id: str) -> Saved | None:
        """Return None."""
        del upload_id
        return None

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Saved]:
        """Return nothing."""
        del upload_ids
        return {}

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Forget the record at once. Whoever has read one, expects a record that is gone: a conflict."""
        if expected is not None:
            raise RevisionConflict(progress.upload_id)
        return Revision(0)

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Do nothing: it is gone already."""
        del upload_id, expected

    async def due(self, now: datetime, *, limit: int) -> list[Saved]:
        """Return nothing."""
        del now, limit
        return []

    async def next_due(self) -> datetime | None:
        """Return None."""
        return None

    async def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield nothing."""
        del step
        for saved in list[Saved]():
            yield saved

    async def all(self) -> AsyncIterator[Saved]:
        """Yield nothing."""
        for saved in list[Saved]():
            yield saved

    async def count_by_step(self) -> dict[str, int]:
        """Return nothing."""
        return {}

    async def remember_answer(self, step: str, at: datetime) -> None:
        """Do nothing."""
        del step, at

    async def answered(self) -> dict[str, datetime]:
        """Return nothing."""
        return {}
