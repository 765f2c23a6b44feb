"""Files in quarantine: kept aside because a scanner found something, until a person has looked.

An upload is in quarantine while it is rejected with the outcome `quarantine`. Every way in and out goes through the
catalogue's change of phase, which writes the log in the same transaction: there is no act without an entry.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import bindparam, insert, literal_column, select

from ...db.instants import from_microseconds, to_microseconds
from ...db.tables import quarantine_log, uploads
from ...events.types import Outcome
from ..upload import Phase, Upload
from .rows import COLUMNS, upload_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ...db import Database


class Act(StrEnum):
    """What was done."""

    QUARANTINED = "quarantined"
    RELEASED = "released"
    """A person has let it through."""
    DELETED = "deleted"
    RESTARTED = "restarted"
    """All its steps run again, the scan included."""


class Doer(msgspec.Struct, frozen=True):
    """Who does something, and why."""

    name: str = ""
    """As the doer says; empty: nobody in particular, such as the uploader who removes the file."""
    reason: str = ""


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One act. The facts about the file are those of that time."""

    number: int
    upload_id: str
    at: datetime
    act: Act
    actor: str
    reason: str
    filename: str
    size_bytes: int | None
    signature: str


NOBODY: Final = Doer()
SCANNER: Final = Doer(name="virusscan")

_ACTS: Final = {Phase.RELEASED: Act.RELEASED, Phase.PROCESSING: Act.RESTARTED}
_APPEND: Final = insert(quarantine_log)
# Literals: SQLite would not see that the partial index applies.
_QUARANTINED: Final = (
    select(*COLUMNS)
    .where(
        uploads.c.phase == literal_column("'rejected'"),
        uploads.c.outcome == literal_column("'quarantine'"),
        uploads.c.seq < bindparam("before"),
    )
    .order_by(uploads.c.seq.desc())
    .limit(bindparam("most"))
)
_LOG: Final = (
    select(quarantine_log)
    .where(quarantine_log.c.seq < bindparam("before"))
    .order_by(quarantine_log.c.seq.desc())
    .limit(bindparam("most"))
)
_LOG_OF_ONE: Final = (
    select(quarantine_log).where(quarantine_log.c.upload_id == bindparam("upload")).order_by(quarantine_log.c.seq)
)
_BEGINNING: Final = 2**62


def in_quarantine(upload: Upload) -> bool:
    """Tell whether an upload is kept aside."""
    return upload.phase is Phase.REJECTED and upload.outcome == Outcome.QUARANTINE


def log_change(connection: Connection, before: Upload, after: Upload, at: datetime, doer: Doer) -> None:
    """Write down that a file comes into quarantine, or leaves it, by a change of phase; nothing for other changes."""
    if in_quarantine(after):
        act, doer = Act.QUARANTINED, msgspec.structs.replace(SCANNER, reason=after.reason)
    elif in_quarantine(before):
        act = _ACTS.get(after.phase, Act.DELETED)
    else:
        return
    scan = before.scan or after.scan
    values = {
        "upload_id": before.id,
        "at": to_microseconds(at),
        "act": act.value,
        "actor": doer.name,
        "reason": doer.reason,
        "filename": before.filename,
        "size_bytes": before.size_bytes,
        "signature": "" if scan is None else scan.signature,
    }
    connection.execute(_APPEND, values)


class Quarantine:
    """Reads what is in quarantine, and what was done there. May raise `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, *, limit: int, before: int | None = None) -> tuple[list[Upload], int | None]:
        """Return at most `limit` uploads, the newest first, and the number `before` which the next page lies."""
        values = {"before": before or _BEGINNING, "most": limit + 1}
        rows = await self._database.read(lambda connection: connection.execute(_QUARANTINED, values).all())
        more = len(rows) > limit
        return [upload_of(row) for row in rows[:limit]], int(rows[limit - 1][0]) if more else None

    async def log(self, *, limit: int, before: int | None = None) -> tuple[list[LogEntry], int | None]:
        """Return at most `limit` entries, the newest first, and the number `before` which the next page lies."""
        values = {"before": before or _BEGINNING, "most": limit + 1}
        rows = await self._database.read(lambda connection: connection.execute(_LOG, values).all())
        entries = [_entry(*row) for row in rows[:limit]]
        return entries, entries[-1].number if len(rows) > limit else None

    async def log_of(self, upload_id: str) -> list[LogEntry]:
        """Return all entries about one upload, in order; also about one that is forgotten."""
        values = {"upload": upload_id}
        rows = await self._database.read(lambda connection: connection.execute(_LOG_OF_ONE, values).all())
        return [_entry(*row) for row in rows]


def _entry(
    number: int,
    upload_id: str,
    at: int,
    act: str,
    actor: str,
    reason: str,
    filename: str,
    size_bytes: int | None,
    signature: str,
) -> LogEntry:
    return LogEntry(
        number=number,
        upload_id=upload_id,
        at=from_microseconds(at),
        act=Act(act),
        actor=actor,
        reason=reason,
        filename=filename,
        size_bytes=size_bytes,
        signature=signature,
    )
