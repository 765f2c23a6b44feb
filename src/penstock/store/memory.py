"""Records in this process's memory: for tests and for trying things out. All are lost when the process ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .base import ProgressStore, Revision, RevisionConflict, Saved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from ..core.progress import Progress


class MemoryStore(ProgressStore):
    """A dictionary. For one process; looking for what is due reads all of it."""

    def __init__(self) -> None:
        self._saved: dict[str, Saved] = {}
        self._answered: dict[str, datetime] = {}
        self._last = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def get(self, upload_id: str) -> Saved | None:
        """Return one record, or None."""
        return self._saved.get(upload_id)

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Saved]:
        """Return the records that exist."""
        return {one: self._saved[one] for one in upload_ids if one in self._saved}

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Put a record in the place of the revision that was read."""
        self._check(progress.upload_id, expected)
        self._last += 1
        revision = Revision(self._last)
        self._saved[progress.upload_id] = Saved(progress, revision)
        return revision

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Remove a record."""
        if upload_id in self._saved:
            self._check(upload_id, expected)
            del self._saved[upload_id]

    async def due(self, now: datetime, *, limit: int) -> list[Saved]:
        """Return what is due, the longest due first."""
        found = [(at, saved) for saved in self._saved.values() if (at := saved.progress.due_at) and at <= now]
        return [saved for _, saved in sorted(found, key=lambda pair: pair[0])[:limit]]

    async def next_due(self) -> datetime | None:
        """Return the earliest timer."""
        return min((at for saved in self._saved.values() if (at := saved.progress.due_at)), default=None)

    async def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield the records of a step, as they were when this began."""
        for saved in list(self._saved.values()):
            if saved.progress.status.current_step == step:
                yield saved

    async def all(self) -> AsyncIterator[Saved]:
        """Yield the records as they were when this began."""
        for saved in list(self._saved.values()):
            yield saved

    async def count_by_step(self) -> dict[str, int]:
        """Count the records of each step."""
        counts: dict[str, int] = {}
        for saved in self._saved.values():
            step = saved.progress.status.current_step
            counts[step] = counts.get(step, 0) + 1
        return counts

    async def remember_answer(self, step: str, at: datetime) -> None:
        """Note an answer."""
        self._answered[step] = at

    async def answered(self) -> dict[str, datetime]:
        """Return the noted answers."""
        return dict(self._answered)

    def _check(self, upload_id: str, expected: Revision | None) -> None:
        saved = self._saved.get(upload_id)
        if (saved.revision if saved else None) != expected:
            raise RevisionConflict(upload_id)
