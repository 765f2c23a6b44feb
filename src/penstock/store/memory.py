"""Records in this process's memory: needs nothing, and leaves nothing behind when the process ends.

For tests, for trying things out, and where losing what is in flight does no harm. One process only. `memory` takes
every record; `ocmem` has room for a number of them, and is kept for installations that are set up with it.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import structlog

from ..core.progress import State
from .base import ProgressStore, Revision, RevisionConflict, Saved, StoreUnavailable
from .packed import pack, unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from ..core.progress import Progress
    from .target import StoreTarget

log = structlog.get_logger(__name__)

_STRETCH: Final = 250
"""Records that are looked at before others may run."""
_ROOM: Final = 512
"""Records that `ocmem` holds where nothing else is set, as with the Go services."""


class _Held(NamedTuple):
    """A record as it is kept: packed, it takes a quarter of the memory of its objects.

    And it is nothing to the garbage collector, which would stop everything for a third of a second with 100,000.
    """

    data: bytes
    revision: Revision
    step: str

    def saved(self) -> Saved:
        """Return it as it was saved."""
        return Saved(unpack(self.data), self.revision)


class MemoryStore(ProgressStore):
    """A dictionary, with the timers in a heap. Nothing here waits, so every change is atomic."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._timers: list[tuple[datetime, Revision, str]] = []
        """When which revision of which record is due. Entries of former revisions are dropped when met."""
        self._in_step: Counter[str] = Counter()
        self._answered: dict[str, datetime] = {}
        self._last_revision = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def get(self, upload_id: str) -> Saved | None:
        """Return one record, or None."""
        held = self._held.get(upload_id)
        return held.saved() if held else None

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Saved]:
        """Return the records that exist."""
        return {one: held.saved() for one in upload_ids if (held := self._held.get(one))}

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Put a record in the place of the revision that was read."""
        upload_id = progress.upload_id
        before = self._held.get(upload_id)
        if (before.revision if before else None) != expected:
            raise RevisionConflict(upload_id)
        data, step = pack(progress), sys.intern(progress.status.current_step)
        self._last_revision += 1
        revision = Revision(self._last_revision)
        self._held[upload_id] = _Held(data, revision, step)
        if before:
            self._leave_step(before.step)
        self._in_step[step] += 1
        if (due_at := progress.due_at) is not None:
            heapq.heappush(self._timers, (due_at, revision, upload_id))
            self._drop_former_timers()
        return revision

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Remove the record of the revision that was read."""
        held = self._held.get(upload_id)
        if held is None:
            return
        if held.revision != expected:
            raise RevisionConflict(upload_id)
        del self._held[upload_id]
        self._leave_step(held.step)

    async def due(self, now: datetime, *, limit: int) -> list[Saved]:
        """Return what is due, the longest due first."""
        found: list[tuple[datetime, Revision, str]] = []
        while self._timers and self._timers[0][0] <= now and len(found) < limit:
            timer = heapq.heappop(self._timers)
            if self._is_current(timer):
                found.append(timer)
        for timer in found:  # it stays due until its record is saved with another time
            heapq.heappush(self._timers, timer)
        return [self._held[upload_id].saved() for _, _, upload_id in found]

    async def next_due(self) -> datetime | None:
        """Return the earliest timer."""
        while self._timers and not self._is_current(self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield the records of a step, as they are when they are reached, in the order of their first save."""
        return self._walk(step)

    def all(self) -> AsyncIterator[Saved]:
        """Yield the records, as they are when they are reached, in the order of their first save."""
        return self._walk(None)

    async def _walk(self, step: str | None) -> AsyncIterator[Saved]:
        for number, upload_id in enumerate(list(self._held), start=1):
            if number % _STRETCH == 0:
                await asyncio.sleep(0)
            held = self._held.get(upload_id)
            if held is not None and step in (None, held.step):
                yield held.saved()

    async def count_by_step(self) -> dict[str, int]:
        """Return the numbers, which are kept up to date."""
        return dict(self._in_step)

    async def remember_answer(self, step: str, at: datetime) -> None:
        """Note an answer."""
        self._answered[step] = at

    async def answered(self) -> dict[str, datetime]:
        """Return the noted answers."""
        return dict(self._answered)

    def _leave_step(self, step: str) -> None:
        self._in_step[step] -= 1
        if not self._in_step[step]:
            del self._in_step[step]

    def _is_current(self, timer: tuple[datetime, Revision, str]) -> bool:
        held = self._held.get(timer[2])
        return held is not None and held.revision == timer[1]

    def _drop_former_timers(self) -> None:
        """Keep the heap in proportion to the records: most are saved, or removed, long before they are due."""
        if len(self._timers) > len(self._held) * 3 // 2 + _STRETCH:
            self._timers = [timer for timer in self._timers if self._is_current(timer)]
            heapq.heapify(self._timers)


class StoreFull(StoreUnavailable):
    """There is no room for another upload until one of those in flight has ended; nothing was written."""

    code = "store-full"

    def __init__(self, room: int) -> None:
        super().__init__(
            f"the store ocmem is full: {room} uploads are in flight. A new one waits until another has ended; "
            "POSTPROCESSING_STORE_SIZE makes more room, and other stores have no such bound"
        )
        self.room = room


class BoundedMemoryStore(MemoryStore):
    """The same with room for `target.size` records (`ocmem`); None and what is not positive mean 512.

    In the Go services the upload that was used least recently makes room for a new one, and is then never finished,
    which nobody is told. Here no upload in flight is ever dropped. What makes room is what has ended: the record that
    failed the longest ago, which is kept only so that somebody may restart the upload. Where all are in flight, a
    new one is refused with `StoreFull`: its event comes again, as while a store is away, until there is room.
    """

    def __init__(self, target: StoreTarget) -> None:
        super().__init__()
        self._room = target.size if target.size and target.size > 0 else _ROOM
        self._failed: OrderedDict[str, None] = OrderedDict()
        """Uploads that have failed, the first to be dropped first."""

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Put a record in the place of the revision that was read, or into what room there is.

        Raises:
            RevisionConflict: as every store.
            StoreFull: the record would be a new one, and all that are held are of uploads in flight.
        """
        upload_id = progress.upload_id
        if expected is None and upload_id not in self._held and len(self._held) >= self._room:
            await self._make_room()
        revision = await super().save(progress, expected=expected)
        self._failed.pop(upload_id, None)
        if progress.state is State.FAILED:
            self._failed[upload_id] = None
        return revision

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Remove the record of the revision that was read."""
        await super().delete(upload_id, expected=expected)
        self._failed.pop(upload_id, None)

    async def _make_room(self) -> None:
        if not self._failed:
            raise StoreFull(self._room)
        dropped = next(iter(self._failed))
        await self.delete(dropped, expected=self._held[dropped].revision)
        log.warning("failed_upload_forgotten", upload=dropped, reason="the store ocmem is full", room=self._room)
