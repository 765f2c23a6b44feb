"""The port for progress: remembers each upload's record until it is released or removed.

Several instances may share one store. They meet in `save` and `delete`, which take effect only on the revision that
the caller has read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NewType, Protocol, Self, runtime_checkable

import msgspec

from ..core.progress import Progress
from ..errors import PenstockError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

Revision = NewType("Revision", int)
"""Identifies one saved state of one record. Only equality means anything."""


class Saved(msgspec.Struct, frozen=True):
    """A record as it was read, with the revision to hand back when changing it."""

    progress: Progress
    revision: Revision


class RevisionConflict(PenstockError):
    """Somebody else has written since; nothing was written. Read again, decide again."""

    code = "revision-conflict"
    retryable = True

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"the progress of upload {upload_id} was changed by somebody else in the meantime")
        self.upload_id = upload_id


class StoreUnavailable(Unavailable):
    """The store gave no answer in time. A change may or may not have been made: read before you decide."""

    code = "store-unavailable"


class RecordRefused(PenstockError):
    """The store cannot hold this record: it is too large, or a name in it is too long or cannot be spelled there.

    Nothing was written, and trying again will not help.
    """

    code = "record-refused"


@runtime_checkable
class MadeWhenMissing(Protocol):
    """A store whose place on its server is made at the opening if there is none, as under a wrong name."""

    @property
    def has_made(self) -> bool:
        """Whether it was made just now."""
        ...


class Records(Protocol):
    """What can be read of a store, also from elsewhere. Any method may raise `StoreUnavailable`."""

    async def get(self, upload_id: str) -> Saved | None:
        """Return one record, or None when there is none."""
        ...

    def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield the records whose current step is `step` (`finished` included).

        The oldest first where the store keeps an order. Records may change while this runs, also by who reads: each
        is yielded at most once, and exactly once if it is in the step all the time; those that are added meanwhile
        may be missing.
        """
        ...

    def all(self) -> AsyncIterator[Saved]:
        """Yield every record, without holding all of them in memory. As `in_step` otherwise."""
        ...


@runtime_checkable
class KnowsAnswers(Records, Protocol):
    """Knows also which steps were answered by some service. May raise `StoreUnavailable`."""

    async def answered(self) -> dict[str, datetime]:
        """Return every step that was ever answered, with the time last noted."""
        ...


class ProgressStore(KnowsAnswers, Protocol):
    """Keeps `Progress` records by upload ID. Any method may raise `StoreUnavailable`.

    What is saved under an upload's ID and is no record (somebody else's value, a broken disk) is `layout.BadRecord`
    where that upload is asked for; among many it is left out, with an error in the log.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Saved]:
        """Return the records that exist among `upload_ids`, in one or few round trips."""
        ...

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Write one upload's record unless somebody else has written since.

        `expected` is the revision that was read; None means "must not exist". When this returns, the write survives
        kill -9 of this process (where the store survives it at all: `memory` does not).

        Raises:
            RevisionConflict: another revision is saved, or the record is gone; nothing was written.
            RecordRefused: the store cannot hold such a record.
        """
        ...

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Remove one record unless somebody else has written since. Does nothing when it is gone already.

        Raises:
            RevisionConflict: another revision is saved; nothing was removed.
        """
        ...

    async def due(self, now: datetime, *, limit: int) -> list[Saved]:
        """Return at most `limit` records whose `due_at` is not after `now`, the longest due first."""
        ...

    async def next_due(self) -> datetime | None:
        """Return the earliest `due_at` of all records, or None when no timer runs."""
        ...

    async def count_by_step(self) -> dict[str, int]:
        """Return how many records are in each step, `finished` included, for metrics."""
        ...

    async def remember_answer(self, step: str, at: datetime) -> None:
        """Note that some service has answered for `step`, most recently at `at`."""
        ...
