"""What happened to the uploads, in the order in which it was committed: the table behind the event streams.

A happening is written in the transaction that makes it true, under a key that names it, so it is there exactly once,
whatever dies when. Numbers only grow; a reader who remembers the last one it saw misses nothing and sees nothing twice.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import BigInteger, LargeBinary, Text, bindparam, delete, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert  # its clause for conflicts is also that of SQLite

from ...db.instants import from_microseconds, to_microseconds
from ...db.prepared import Prepared
from ...db.tables import feed, uploads
from ..upload import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


class Kind(StrEnum):
    """What happened."""

    CREATED = "created"
    RECEIVED = "received"
    """All bytes are there; postprocessing begins."""
    STEP_STARTED = "step_started"
    STEP_FINISHED = "step_finished"
    RETRY = "retry"
    """A step failed for now and will be tried again at `next_try_at`."""
    DECIDED = "decided"
    """The steps are over, with an `outcome`; what follows from it comes next."""
    RELEASED = "released"
    REJECTED = "rejected"
    DELETED = "deleted"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    RESTARTED = "restarted"
    """All steps run again."""


def kind_of(before: Phase, after: Phase) -> Kind:
    """Return what has happened to an upload that goes from one phase to another."""
    if after is Phase.PROCESSING:
        return Kind.RECEIVED if before is Phase.RECEIVING else Kind.RESTARTED
    return Kind(after.value)


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept as JSON."""

    filename: str = ""
    step: str = ""
    attempt: int | None = None
    outcome: str = ""
    reason: str = ""
    next_try_at: datetime | None = None


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something to write down. `key` names it among those of the upload: it is written once."""

    key: str
    upload_id: str
    at: datetime
    kind: Kind
    details: Details


class FeedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was written down, as clients get it. Empty, or None, is what does not apply."""

    seq: int
    """Its number: later is greater."""
    at: datetime
    upload: str
    filename: str
    kind: Kind
    phase: Phase
    """The upload's phase when this was written."""
    step: str = ""
    attempt: int | None = None
    """Which start of the step this is about, from 1; None where it cannot be told."""
    outcome: str = ""
    reason: str = ""
    next_try_at: datetime | None = None


_COLUMNS: Final = (feed.c.seq, feed.c.upload_id, feed.c.at, feed.c.kind, feed.c.phase, feed.c.data)
_SINCE: Final = select(*_COLUMNS).where(feed.c.seq > bindparam("after")).order_by(feed.c.seq).limit(bindparam("most"))
_SINCE_OF_UPLOAD: Final = _SINCE.where(feed.c.upload_id == bindparam("upload"))
_BEGINS_STEP_OR_RUN: Final = feed.c.kind.in_(
    [literal_column(f"'{kind}'") for kind in (Kind.STEP_STARTED, Kind.RECEIVED, Kind.RESTARTED)]
)
_LAST_START: Final = Prepared(
    select(feed.c.kind, feed.c.key, feed.c.data)
    .where(feed.c.upload_id == bindparam("upload"), _BEGINS_STEP_OR_RUN)
    .order_by(feed.c.seq.desc())
    .limit(1)
)
_INSERT: Final = insert(feed).on_conflict_do_nothing()
_APPEND: Final = Prepared(_INSERT, "upload_id", "key", "at", "kind", "phase", "data")
# What a step says counts while the upload is in processing; what comes later did not happen to it any more.
_APPEND_WHILE_PROCESSING: Final = Prepared(
    _INSERT.from_select(
        ["upload_id", "key", "at", "kind", "data", "phase"],
        select(
            uploads.c.id,
            bindparam("key", type_=Text),
            bindparam("at", type_=BigInteger),
            bindparam("kind", type_=Text),
            bindparam("data", type_=LargeBinary),
            uploads.c.phase,
        ).where(uploads.c.id == bindparam("upload_id", type_=Text), uploads.c.phase == Phase.PROCESSING.value),
    )
)
_WRITTEN: Final = Prepared(
    select(literal_column("1"))
    .select_from(uploads.join(feed, feed.c.upload_id == uploads.c.id))
    .where(
        uploads.c.id == bindparam("upload"), uploads.c.phase == Phase.PROCESSING.value, feed.c.key == bindparam("key")
    )
)
_LAST: Final = select(func.max(feed.c.seq))
_LAST_OF_UPLOAD: Final = _LAST.where(feed.c.upload_id == bindparam("upload"))
_OLDEST: Final = select(feed.c.seq, feed.c.at).order_by(feed.c.seq).limit(bindparam("most"))
_FORGET: Final = delete(feed).where(feed.c.seq <= bindparam("upto"))

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Details).decode


def append(connection: Connection, happenings: Sequence[tuple[Happening, Phase]]) -> None:
    """Write down what is made true by the same transaction, each with the phase that the upload has from then on."""
    _APPEND.execute_all(connection, [{**_values(happening), "phase": phase.value} for happening, phase in happenings])


def append_while_processing(connection: Connection, happenings: Sequence[Happening]) -> None:
    """Write down what steps did with uploads; nothing about those that are not in processing any more."""
    _APPEND_WHILE_PROCESSING.execute_all(connection, [_values(happening) for happening in happenings])


def since(connection: Connection, after: int, *, upload_id: str | None, limit: int) -> list[FeedEntry]:
    """Return at most `limit` entries with numbers above `after`, in order; of all uploads if `upload_id` is None."""
    values: dict[str, Any] = {"after": after, "most": limit}
    if upload_id is None:
        return [_entry(row) for row in connection.execute(_SINCE, values)]
    return [_entry(row) for row in connection.execute(_SINCE_OF_UPLOAD, values | {"upload": upload_id})]


def last_start(connection: Connection, upload_id: str) -> tuple[str, str, int | None] | None:
    """Return key, step and attempt of the last start of a step in the upload's present run; None if there is none."""
    row = _LAST_START.first(connection, {"upload": upload_id})
    if row is None:
        return None
    kind, key, data = row
    if kind != Kind.STEP_STARTED:
        return None
    details = _decode(data)
    return key, details.step, details.attempt


def is_written(connection: Connection, upload_id: str, key: str) -> bool:
    """Tell whether something was written down of an upload that is in processing."""
    return _WRITTEN.first(connection, {"upload": upload_id, "key": key}) is not None


def last(connection: Connection, *, upload_id: str | None = None) -> int:
    """Return the number of the last entry, of all uploads if `upload_id` is None; 0 when there is none."""
    row = connection.execute(_LAST) if upload_id is None else connection.execute(_LAST_OF_UPLOAD, {"upload": upload_id})
    number: int | None = row.scalar()
    return number or 0


def trim(connection: Connection, *, before: datetime, keep: int, limit: int) -> int:
    """Forget at most `limit` of the oldest entries, if older than `before` or not among the last `keep`; count them."""
    oldest_kept = last(connection) - keep + 1
    cutoff = to_microseconds(before)
    upto = gone = 0
    for seq, at in connection.execute(_OLDEST, {"most": limit}):
        if seq >= oldest_kept and at >= cutoff:
            break
        upto, gone = seq, gone + 1
    if gone:
        connection.execute(_FORGET, {"upto": upto})
    return gone


def _values(happening: Happening) -> dict[str, Any]:
    return {
        "key": happening.key,
        "upload_id": happening.upload_id,
        "at": to_microseconds(happening.at),
        "kind": happening.kind.value,
        "data": _encode(happening.details),
    }


def _entry(row: Sequence[Any]) -> FeedEntry:
    seq, upload_id, at, kind, phase, data = row
    details = _decode(data)
    return FeedEntry(
        seq=seq,
        at=from_microseconds(at),
        upload=upload_id,
        filename=details.filename,
        kind=Kind(kind),
        phase=Phase(phase),
        step=details.step,
        attempt=details.attempt,
        outcome=details.outcome,
        reason=details.reason,
        next_try_at=details.next_try_at,
    )
