"""What garbage collection finds, and the rule by which it may go.

The rule: nothing goes that may be the only copy of something alive. Bytes of an upload that the catalogue has in a
phase that holds bytes are alive, wherever they lie. Bytes that no entry names may have lost it, as when an older
database was put back: they go only when both their own age and the time since they were first noticed say so, and
released ones only when somebody asks for it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from ...blobs.inventory import Found, Stage
from ...errors import InvalidRequest
from ..upload import Phase

if TYPE_CHECKING:
    from ..upload import Upload

LEAST_AGE: Final = timedelta(minutes=5)
"""Between an upload's bytes and its entry lie milliseconds; where the database is away, seconds."""
LISTED: Final = 1000
"""Finds that a report lists; all are counted."""


_NEEDED_IN: Final = {
    Stage.PARTS: {Phase.PROCESSING, Phase.REJECTED},
    Stage.LENT: {Phase.PROCESSING},
    Stage.PIECES: {Phase.RECEIVING, Phase.PROCESSING, Phase.REJECTED},
}
"""What is never the only copy of something, or does not count, and in which phases of its upload it stays all the same.

Parts of an upload that is being released, or lent, are on their way now, or were before a death; a person may release
what was rejected. A copy is fetched for as long as there are steps. Pieces are being made, or put together; a release
has what counts be somewhere else, on the disk.
"""


class Kind(StrEnum):
    """What was found."""

    EXPIRED = "expired"
    """An unfinished upload whose time is over."""
    UNPROCESSED = "unprocessed"
    """An upload whose bytes are all there, but whose processing never began: it is begun, nothing is removed."""
    FORGOTTEN = "forgotten"
    """An entry of an upload without bytes, older than the retention."""
    ORPHAN = "orphan"
    """Staged bytes, or copies of some, that no entry names."""
    STRAY = "stray"
    """Released bytes that no entry names."""
    LEFTOVER = "leftover"
    """Bytes of an upload that was given up, staged ones of one that was released, or a copy where released files lie of
    one that was rejected: what a death has left."""
    TEMPORARY = "temporary"
    """A file that somebody was about to remove who died."""
    PARTS = "parts"
    """Parts in a bucket of an object that was never ended."""


class Verdict(StrEnum):
    """What is to be done with what lies in a storage."""

    ALIVE = "alive"
    """Somebody needs it, or may."""
    YOUNG = "young"
    """Nobody names it, but it has not been so for long."""
    REMOVE = "remove"
    """It goes."""
    PUT_RIGHT = "put right"
    """It is of an upload that was released, and goes if the final place has all of that, else it comes there."""
    WITHDRAW = "withdraw"
    """It lies where released bytes do, of an upload that was rejected: it goes if all of that is staged."""


class Find(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is, or would be, removed or put right; or that is kept for now."""

    kind: Kind
    id: str
    """The upload; empty for what belongs to none."""
    filename: str = ""
    place: str = ""
    """Where it lies, when that is not the data folder."""
    size_bytes: int = 0
    since: datetime | None = None
    """How old it is: when it was written, was to be complete, or ended."""
    done: bool = False
    """Whether it is gone or put right; in a dry run never."""
    kept: bool = False
    """Whether it stays for now, whatever is asked: it is too young, or `detail` says why."""
    failed: bool = False
    """Whether it could not be removed or put right: `detail` says why. It is kept, and found again the next time."""
    detail: str = ""
    """What was, or would be, done, or why it is kept."""


class Total(msgspec.Struct, frozen=True):
    """The finds of a kind."""

    kind: Kind
    found: int
    size_bytes: int
    done: int
    freed_bytes: int
    kept: int
    failed: int
    """Of those that are kept: what could not be removed or put right."""


class Report(msgspec.Struct, frozen=True):
    """What one collection has found and done."""

    dry_run: bool
    totals: list[Total]
    finds: list[Find]
    """The first thousand."""
    found: int
    size_bytes: int
    """Of all that was found and is not kept."""
    done: int
    freed_bytes: int
    kept: int
    failed: int
    looked_at: int
    """Entries and bytes that were looked at, the harmless ones included."""
    notes: list[str]
    """What could not be looked at, or not be done."""
    remarks: list[str]
    """What explains the rest: no trouble."""


class Tally:
    """Adds finds up."""

    def __init__(self, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._sums: dict[Kind, list[int]] = {}
        self._finds: list[Find] = []
        self.notes: list[str] = []
        self.remarks: list[str] = []
        self.looked_at = 0

    def add(self, find: Find) -> None:
        """Count one."""
        sums = self._sums.setdefault(find.kind, [0] * 6)
        freed_bytes = find.size_bytes if find.done and find.kind is not Kind.UNPROCESSED else 0
        size_bytes = 0 if find.kept else find.size_bytes
        for index, more in enumerate((not find.kept, size_bytes, find.done, freed_bytes, find.kept, find.failed)):
            sums[index] += more
        if len(self._finds) < LISTED:
            self._finds.append(find)

    def report(self) -> Report:
        """Return what was found and done so far."""
        totals = [Total(kind, *self._sums[kind]) for kind in Kind if kind in self._sums]
        return Report(
            dry_run=self._dry_run,
            totals=totals,
            finds=list(self._finds),
            found=sum(total.found for total in totals),
            size_bytes=sum(total.size_bytes for total in totals),
            done=sum(total.done for total in totals),
            freed_bytes=sum(total.freed_bytes for total in totals),
            kept=sum(total.kept for total in totals),
            failed=sum(total.failed for total in totals),
            looked_at=self.looked_at,
            notes=list(self.notes),
            remarks=list(self.remarks),
        )


def checked_age(older_than: timedelta) -> timedelta:
    """Return how old something must be to go.

    Raises:
        InvalidRequest: what is so young may be about to be entered in the catalogue.
    """
    if older_than < LEAST_AGE:
        raise InvalidRequest(f"older_than={older_than}: what is so young may be in the making. Say 5m or more.")
    return older_than


def kind_of(found: Found, upload: Upload | None) -> Kind:
    """Return what something in a storage is, if it is to go."""
    if found.stage in (Stage.MARK, Stage.PROBE):
        return Kind.TEMPORARY
    if found.stage is Stage.PARTS:
        return Kind.PARTS
    if upload is not None:
        return Kind.LEFTOVER
    return Kind.STRAY if found.stage is Stage.RELEASED else Kind.ORPHAN


def judge(
    found: Found, upload: Upload | None, *, noticed_at: datetime | None, now: datetime, older_than: timedelta
) -> Verdict:
    """Tell what is to be done with something that lies in a storage.

    Args:
        found: what lies there.
        upload: its entry, read after it was found; None: there is none.
        noticed_at: when it was first noticed that there is none; None: only now.
        now: the time that ages are counted to.
        older_than: how old it must be.
    """
    old = now - found.changed_at >= older_than
    if upload is None:
        noticed = found.stage is Stage.PROBE or (noticed_at is not None and now - noticed_at >= older_than)
        return Verdict.REMOVE if old and noticed else Verdict.YOUNG
    if found.stage in _NEEDED_IN:
        if upload.phase in _NEEDED_IN[found.stage]:
            return Verdict.ALIVE
        return Verdict.REMOVE if old else Verdict.YOUNG
    if found.stage is Stage.RELEASED and upload.phase is Phase.REJECTED:
        aged = now - found.changed_at >= LEAST_AGE  # whoever is releasing it holds it (`Gateway.withdraw`)
        return Verdict.WITHDRAW if aged and found.place and upload.size_bytes is not None else Verdict.ALIVE
    if found.stage is Stage.STAGED and upload.phase is Phase.RELEASED:
        return Verdict.PUT_RIGHT if old and upload.size_bytes is not None else Verdict.ALIVE
    if upload.phase.holds_bytes and not (found.stage is Stage.MARK and upload.phase is Phase.RELEASED):
        return Verdict.ALIVE
    return Verdict.REMOVE if old else Verdict.YOUNG
