"""Stores nothing. An upload without steps is released; one with steps never ends: its first answer finds no record.

For testing what happens without a memory, as with the Go services; warned about at start where steps are configured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .base import ProgressStore, Revision, Saved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from ..core.progress import Progress


class NoopStore(ProgressStore):
    """Takes everything and gives nothing back."""

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
        """Forget the record at once; there never is a conflict."""
        del progress, expected
        return Revision(0)

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Do nothing."""
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
