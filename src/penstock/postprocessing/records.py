"""The store, with a short memory of what this instance wrote last.

An upload passes through in a handful of events, and reading its record before each would double the trips to the
store. What is remembered here may be out of date, since other instances write too; that is noticed:

- a change based on it fails with `RevisionConflict`, as any stale change does;
- a decision to change nothing is only final when it was based on a fresh read (`Record.fresh`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from ..core.progress import Progress
from ..store.base import Revision, RevisionConflict, Saved

if TYPE_CHECKING:
    from ..store.base import ProgressStore

_REMEMBERED = 4096
"""Records kept in memory; some 2 KiB each."""


class Record(msgspec.Struct, frozen=True):
    """What is known of one upload. Both None: there is no record."""

    upload_id: str
    progress: Progress | None
    revision: Revision | None
    fresh: bool
    """Whether it was read from the store just now."""


class Records:
    """Reads and changes records through a bounded memory of the latest ones."""

    def __init__(self, store: ProgressStore) -> None:
        self._store = store
        self._latest: OrderedDict[str, Saved] = OrderedDict()

    async def read(self, upload_id: str, *, fresh: bool = False) -> Record:
        """Return the record; from memory where possible, unless it has to be `fresh`."""
        known = None if fresh else self._latest.get(upload_id)
        if known is not None:
            self._latest.move_to_end(upload_id)
            return Record(upload_id, known.progress, known.revision, fresh=False)
        saved = await self._store.get(upload_id)
        if saved is None:
            self._latest.pop(upload_id, None)
            return Record(upload_id, None, None, fresh=True)
        return self.note(saved)

    def suppose_new(self, upload_id: str) -> Record:
        """Return the record from memory; else none at all, without asking the store: a first save would notice."""
        known = self._latest.get(upload_id)
        if known is None:
            return Record(upload_id, None, None, fresh=False)
        return Record(upload_id, known.progress, known.revision, fresh=False)

    def note(self, saved: Saved) -> Record:
        """Remember what somebody has read from the store just now, and return it."""
        self._remember(saved.progress.upload_id, saved)
        return Record(saved.progress.upload_id, saved.progress, saved.revision, fresh=True)

    async def change(self, record: Record, progress: Progress | None) -> None:
        """Replace `record` by `progress`, or remove it when that is None.

        Raises:
            RevisionConflict: the store holds something else than `record`; nothing was changed.
        """
        try:
            if progress is not None:
                revision = await self._store.save(progress, expected=record.revision)
                self._remember(record.upload_id, Saved(progress, revision))
            elif record.revision is not None:
                await self._store.delete(record.upload_id, expected=record.revision)
                self._latest.pop(record.upload_id, None)
        except RevisionConflict:
            self._latest.pop(record.upload_id, None)
            raise

    def _remember(self, upload_id: str, saved: Saved) -> None:
        self._latest[upload_id] = saved
        self._latest.move_to_end(upload_id)
        if len(self._latest) > _REMEMBERED:
            self._latest.popitem(last=False)
