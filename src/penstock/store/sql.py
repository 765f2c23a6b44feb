"""Records in a table of an SQL database: what survives everything that the database's disk survives.

Needs nothing but the database that it is given, which it shares with the catalogue of uploads. Leaves behind the
tables `progress` and `step_answers`. Writes of many uploads share their commits.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.exc import DataError, OperationalError

from ..db import DatabaseUnavailable
from ..db.instants import from_microseconds, to_microseconds
from ..db.prepared import Prepared
from ..db.tables import progress as records
from ..db.tables import step_answers
from ..errors import InvalidRequest
from . import layout
from .ahead import ahead
from .base import ProgressStore, RecordRefused, Revision, RevisionConflict, Saved, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from datetime import datetime
    from typing import TypeAlias, TypeVar

    from sqlalchemy import ColumnElement, Connection, Row, Select

    from ..core.progress import Progress
    from ..db import Database

    T = TypeVar("T")
    RecordRow: TypeAlias = Row[int, str, int, bytes]
    Records: TypeAlias = Select[int, str, int, bytes]

log = structlog.get_logger(__name__)

_BATCH: Final = 500
"""Records that are read at once: about 1 MiB."""

_RECORDS: Final = select(records.c.seq, records.c.upload_id, records.c.revision, records.c.record)
_GET: Final = Prepared(_RECORDS.where(records.c.upload_id == bindparam("upload")))
_GET_MANY: Final = _RECORDS.where(records.c.upload_id.in_(bindparam("uploads", expanding=True)))
_DUE: Final = _RECORDS.where(records.c.due_at <= bindparam("now")).order_by(records.c.due_at).limit(bindparam("most"))
_NEXT_DUE: Final = select(records.c.due_at).where(records.c.due_at.is_not(None)).order_by(records.c.due_at).limit(1)
_LAST: Final = select(func.max(records.c.seq))
_PAGE: Final = (
    _RECORDS.where(records.c.seq > bindparam("after"), records.c.seq <= bindparam("last"))
    .order_by(records.c.seq)
    .limit(_BATCH)
)
_COUNTS: Final = select(records.c.step, func.count()).group_by(records.c.step)
_ANSWERS: Final = select(step_answers.c.step, step_answers.c.at)

# Not to insert tells of a conflict without an error, which would undo the writes of others in the same transaction.
_INSERT: Final = Prepared(
    text(
        "INSERT INTO progress (upload_id, revision, step, due_at, record) "
        "VALUES (:upload, :new_revision, :new_step, :new_due_at, :new_record) ON CONFLICT (upload_id) DO NOTHING"
    )
)
_OF_REVISION: Final = (records.c.upload_id == bindparam("upload"), records.c.revision == bindparam("expected"))
_UPDATE: Final = Prepared(
    update(records)
    .where(*_OF_REVISION)
    .values({name: bindparam(f"new_{name}") for name in ("revision", "step", "due_at", "record")})
)
_DELETE: Final = Prepared(delete(records).where(*_OF_REVISION))
_NOTE_ANSWER: Final = text(
    "INSERT INTO step_answers (step, at) VALUES (:step, :at) ON CONFLICT (step) DO UPDATE SET at = excluded.at"
)


class SqlStore(ProgressStore):
    """A table. `database` is open for as long as this is used; several processes may use the same one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def get(self, upload_id: str) -> Saved | None:
        """Return one record, or None."""
        with _own_errors():
            row = await self._database.find(lambda connection: _GET.first(connection, {"upload": upload_id}))
        return None if row is None else _saved(row)

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Saved]:
        """Return the records that exist."""
        found: dict[str, Saved] = {}
        ids = iter(upload_ids)
        while batch := list(islice(ids, _BATCH)):
            rows = await self._rows(_GET_MANY, {"uploads": batch})
            found |= {saved.progress.upload_id: saved for saved in _readable(rows)}
        return found

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Insert a new record, or update the one of the revision that was read."""
        revision = secrets.randbits(62)  # never that of an earlier record of the same upload
        values: dict[str, Any] = {
            "upload": progress.upload_id,
            "new_revision": revision,
            "new_step": progress.status.current_step,
            "new_due_at": to_microseconds(progress.due_at),
            "new_record": layout.encode(progress),
        }
        if expected is not None:
            values["expected"] = expected
        statement = _INSERT if expected is None else _UPDATE
        if not await self._write(lambda connection: statement.execute(connection, values)):
            raise RevisionConflict(progress.upload_id)
        return Revision(revision)

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Remove the record of the revision that was read."""

        def work(connection: Connection) -> bool:
            values = {"upload": upload_id, "expected": expected}
            return _DELETE.execute(connection, values) == 1 or _GET.first(connection, {"upload": upload_id}) is None

        if not await self._write(work):
            raise RevisionConflict(upload_id)

    async def due(self, now: datetime, *, limit: int) -> list[Saved]:
        """Return what is due, the longest due first."""
        return _readable(await self._rows(_DUE, {"now": to_microseconds(now), "most": limit}))

    async def next_due(self) -> datetime | None:
        """Return the earliest timer."""
        return from_microseconds(await self._read(lambda connection: connection.execute(_NEXT_DUE).scalar()))

    def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield the records of a step in the order of their first save, in batches."""
        return self._walk(records.c.step == step)

    def all(self) -> AsyncIterator[Saved]:
        """Yield all records in the order of their first save, in batches."""
        return self._walk()

    async def count_by_step(self) -> dict[str, int]:
        """Count the records of each step, from the index."""
        rows = await self._read(lambda connection: connection.execute(_COUNTS).all())
        return dict(rows)

    async def remember_answer(self, step: str, at: datetime) -> None:
        """Note an answer."""
        values = {"step": step, "at": to_microseconds(at)}
        await self._write(lambda connection: connection.execute(_NOTE_ANSWER, values).rowcount)

    async def answered(self) -> dict[str, datetime]:
        """Return the noted answers."""
        rows = await self._read(lambda connection: connection.execute(_ANSWERS).all())
        return {step: from_microseconds(at) for step, at in rows}

    async def _walk(self, *conditions: ColumnElement[bool]) -> AsyncIterator[Saved]:
        """Yield what was there when this began, a page at a time: nothing is held open in between."""
        async for rows in ahead(self._pages(_PAGE.where(*conditions))):
            for saved in _readable(rows):
                yield saved

    async def _pages(self, page: Records) -> AsyncIterator[Sequence[RecordRow]]:
        last = await self._read(lambda connection: connection.execute(_LAST).scalar())
        after = 0
        while rows := await self._rows(page, {"after": after, "last": last or 0}):
            after = rows[-1].seq
            yield rows

    async def _rows(self, statement: Records, values: dict[str, Any]) -> Sequence[RecordRow]:
        return await self._read(lambda connection: connection.execute(statement, values).all())

    async def _read(self, work: Callable[[Connection], T]) -> T:
        with _own_errors():
            return await self._database.read(work)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        with _own_errors():
            return await self._database.write(work)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raise what the port promises.

    PostgreSQL cannot hold a name with a NUL in it, and finds one of thousands of characters too long for its index;
    nor can it look for one.
    """
    try:
        yield
    except DatabaseUnavailable as error:
        raise StoreUnavailable(str(error)) from error
    except (DataError, OperationalError) as error:
        raise RecordRefused(f"the database cannot hold this record: {error.orig}") from error
    except InvalidRequest as error:
        raise RecordRefused(f"the database cannot hold this record: {error}") from error


def _saved(row: Sequence[Any]) -> Saved:
    data: bytes | str
    _, _, revision, data = row  # SQLite gives text back where an operator has mended a record by hand
    return Saved(layout.decode(data.encode() if isinstance(data, str) else data), Revision(revision))


def _readable(rows: Iterable[RecordRow]) -> list[Saved]:
    """Decode rows, without those that cannot be: one broken record must not hide the others."""
    found = []
    for row in rows:
        try:
            found.append(_saved(row))
        except layout.BadRecord as error:  # a page at most
            log.error("record_unreadable", upload=row.upload_id, error=str(error))  # noqa: TRY400  # says all there is
    return found
