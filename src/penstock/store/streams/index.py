"""What is where: the step and the timer of every record, in memory, for stores that cannot be asked.

About 300 bytes per record. Changes arrive by two ways and in any order: from this instance as soon as they are made,
and from the stream, which tells of everybody's; the later one, by its sequence number, counts.
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ...core.progress import Progress

_SLACK: Final = 1000
"""Former timers that may always be kept."""


class Known(NamedTuple):
    """What is known of one record."""

    seq: int
    step: str
    due_at: datetime | None


class Index:
    """Steps and timers by upload ID."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: the stream is another one."""
        self._known: dict[str, Known] = {}
        self._removed: OrderedDict[str, int] = OrderedDict()
        """Which removals the stream has not told of yet, so that what it tells until then brings nothing back."""
        self._in_step: Counter[str] = Counter()
        self._timers: list[tuple[datetime, int, str]] = []
        """When which version of which record is due. Entries of former versions are dropped when met."""
        self._told = 0
        self._written: OrderedDict[int, None] = OrderedDict()
        """Which versions, and removals, were noted by who wrote them, and may still be told by the stream."""

    def __len__(self) -> int:
        return len(self._known)

    def seq_of(self, upload_id: str) -> int:
        """Return the version that is known of a record; 0 when there is none."""
        known = self._known.get(upload_id)
        return known.seq if known else 0

    def ids(self) -> Iterable[str]:
        """Return all uploads that have a record."""
        return self._known.keys()

    def ids_in_step(self, step: str) -> list[str]:
        """Return the uploads in a step."""
        if not self._in_step[step]:
            return []
        return [upload_id for upload_id, known in self._known.items() if known.step == step]

    def counts(self) -> dict[str, int]:
        """Return how many uploads are in each step."""
        return {step: count for step, count in self._in_step.items() if count}

    def wrote(self, seq: int) -> None:
        """Note that what the stream will tell under this number is known already."""
        if seq > self._told:
            self._written[seq] = None

    def is_written_here(self, seq: int) -> bool:
        """Tell whether what the stream tells under this number was known before."""
        return seq in self._written

    def put(self, progress: Progress, seq: int) -> None:
        """Note a version of a record, unless a later one or its removal is known."""
        upload_id = progress.upload_id
        before = self._known.get(upload_id)
        if (before is not None and before.seq >= seq) or self._removed.get(upload_id, 0) >= seq:
            return
        self._leave_step(before)
        step, due_at = sys.intern(progress.status.current_step), progress.due_at
        self._known[upload_id] = Known(seq, step, due_at)
        self._in_step[step] += 1
        if due_at is not None:
            heapq.heappush(self._timers, (due_at, seq, upload_id))
            if len(self._timers) > 2 * len(self._known) + _SLACK:
                self._drop_former_timers()

    def remove(self, upload_id: str, seq: int) -> None:
        """Note that a record was removed, or became unreadable, with version `seq`."""
        before = self._known.get(upload_id)
        if before is not None and before.seq > seq:
            return
        if seq > self._told:
            self._removed[upload_id] = max(seq, self._removed.get(upload_id, 0))
            self._removed.move_to_end(upload_id)
        self._known.pop(upload_id, None)
        self._leave_step(before)

    def forget(self, upload_id: str, seq: int) -> None:
        """Note that there is no record, if version `seq` is still what is known of it."""
        before = self._known.get(upload_id)
        if before is not None and before.seq == seq:
            del self._known[upload_id]
            self._leave_step(before)

    def told_until(self, seq: int) -> None:
        """Note that the stream has told of everything up to `seq`."""
        self._told = seq
        while self._written and (written := next(iter(self._written))) <= seq:
            del self._written[written]
        while self._removed:
            upload_id, removed_at = self._removed.popitem(last=False)
            if removed_at > seq:  # and so are, by and large, those after it
                self._removed[upload_id] = removed_at
                self._removed.move_to_end(upload_id, last=False)
                break

    def next_due(self) -> datetime | None:
        """Return the earliest timer."""
        while self._timers and not self._is_current(self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def due(self, now: datetime, limit: int) -> list[str]:
        """Return at most `limit` uploads that are due, the longest due first."""
        found: list[tuple[datetime, int, str]] = []
        while self._timers and self._timers[0][0] <= now and len(found) < limit:
            timer = heapq.heappop(self._timers)
            if self._is_current(timer):
                found.append(timer)
        for timer in found:  # it stays due until its record is saved with another time
            heapq.heappush(self._timers, timer)
        return [upload_id for _, _, upload_id in found]

    def _is_current(self, timer: tuple[datetime, int, str]) -> bool:
        return self.seq_of(timer[2]) == timer[1]

    def _leave_step(self, before: Known | None) -> None:
        if before is not None:
            self._in_step[before.step] -= 1
            if not self._in_step[before.step]:
                del self._in_step[before.step]

    def _drop_former_timers(self) -> None:
        """Keep the heap in proportion to the records: most are saved, or removed, long before they are due."""
        self._timers = [timer for timer in self._timers if self._is_current(timer)]
        heapq.heapify(self._timers)
