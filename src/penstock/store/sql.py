"""Records in a table of an SQL database, with indexes on what is due and on the step.

Leaves behind: the tables `progress` and `step_answers` in the database that it is given.
"""

from __future__ import annotations

import secrets
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..db import DatabaseUnavailable
from ..db.instants import from_microseconds, to_microseconds
from ..db.tables import progress as records
from ..db.tables import step_answers
from . import layout
from .base import ProgressStore, Revision, RevisionConflict, Saved, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from datetime import datetime
    from typing import TypeVar

    from sqlalchemy import ColumnElement, Connection, Executable

    from ..core.progress import Progress
    from ..db import Database

    T = TypeVar("T")

_BATCH: Final = 500
_COLUMNS: Final = (records.c.record, records.c.revision)
_GET: Final = select(*_COLUMNS).where(records.c.upload_id == bindparam("upload"))
_GET_MANY: Final = select(*_COLUMNS).where(records.c.upload_id.in_(bindparam("uploads", expanding=True)))
_INSERT: Final = insert(records)
_UPDATE: Final = update(records).where(
    records.c.upload_id == bindparam("upload"), records.c.revision == bindparam("expected")
)
_DELETE: Final = delete(records).where(
    records.c.upload_id == bindparam("upload"), records.c.revision == bindparam("expected")
)
_DUE: Final = (
    select(*_COLUMNS).where(records.c.due_at <= bindparam("now")).order_by(records.c.due_at).limit(bindparam("most"))
)
_NEXT_DUE: Final = select(func.min(records.c.due_at))
_COUNTS: Final = select(records.c.step, func.count()).group_by(records.c.step)
_ANSWERS: Final = select(step_answers.c.step, step_answers.c.at)
_FORGET_ANSWER: Final = delete(step_answers).where(step_answers.c.step == bindparam("name"))
_NOTE_ANSWER: Final = insert(step_answers)


class SqlStore(ProgressStore):
    """A table. `database` is open for as long as this is used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def get(self, upload_id: str) -> Saved | None:
        """Return one record, or None."""
        row = await self._read(lambda connection: connection.execute(_GET, {"upload": upload_id}).first())
        return None if row is None else _saved(row)

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Saved]:
        """Return the records that exist."""
        found: dict[str, Saved] = {}
        ids = iter(upload_ids)
        while batch := list(islice(ids, _BATCH)):
            rows = await self._read(_all_rows(_GET_MANY, {"uploads": batch}))
            found |= {saved.progress.upload_id: saved for saved in map(_saved, rows)}
        return found

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Insert a new record, or update the one of the revision that was read."""
        revision = secrets.randbits(62)  # never that of an earlier record of the same ID
        values: dict[str, Any] = {
            "revision": revision,
            "step": progress.status.current_step,
            "due_at": to_microseconds(progress.due_at),
            "record": layout.encode(progress),
        }

        def work(connection: Connection) -> bool:
            if expected is None:
                connection.execute(_INSERT, {**values, "upload_id": progress.upload_id})
                return True
            return (
                connection.execute(_UPDATE, {**values, "upload": progress.upload_id, "expected": expected}).rowcount
                == 1
            )

        try:
            done = await self._write(work)
        except IntegrityError as error:
            raise RevisionConflict(progress.upload_id) from error
        if not done:
            raise RevisionConflict(progress.upload_id)
        return Revision(revision)

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Remove the record of the revision that was read."""

        def work(connection: Connection) -> bool:
            values = {"upload": upload_id, "expected": expected}
            if connection.execute(_DELETE, values).rowcount == 1:
                return True
            return connection.execute(_GET, {"upload": upload_id}).first() is None

        if not await self._write(work):
            raise RevisionConflict(upload_id)

    async def due(self, now: datetime, *, limit: int) -> list[Saved]:
        """Return what is due, the longest due first."""
        rows = await self._read(_all_rows(_DUE, {"now": to_microseconds(now), "most": limit}))
        return [_saved(row) for row in rows]

    async def next_due(self) -> datetime | None:
        """Return the earliest timer."""
        return from_microseconds(await self._read(lambda connection: connection.execute(_NEXT_DUE).scalar()))

    def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield the records of a step in the order of their IDs, in batches."""
        return self._walk(records.c.step == step)

    def all(self) -> AsyncIterator[Saved]:
        """Yield all records in the order of their IDs, in batches."""
        return self._walk()

    async def count_by_step(self) -> dict[str, int]:
        """Count the records of each step."""
        return dict(await self._read(_all_rows(_COUNTS)))

    async def remember_answer(self, step: str, at: datetime) -> None:
        """Note an answer."""

        def work(connection: Connection) -> None:
            connection.execute(_FORGET_ANSWER, {"name": step})
            connection.execute(_NOTE_ANSWER, {"step": step, "at": to_microseconds(at)})

        await self._write(work)

    async def answered(self) -> dict[str, datetime]:
        """Return the noted answers."""
        return {step: from_microseconds(at) for step, at in await self._read(_all_rows(_ANSWERS))}

    async def _walk(self, *conditions: ColumnElement[bool]) -> AsyncIterator[Saved]:
        page = select(*_COLUMNS).where(*conditions).order_by(records.c.upload_id).limit(_BATCH)
        statement = page
        while rows := await self._read(_all_rows(statement)):
            for saved in (batch := [_saved(row) for row in rows]):
                yield saved
            statement = page.where(records.c.upload_id > batch[-1].progress.upload_id)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.read(work)
        except DatabaseUnavailable as error:
            raise StoreUnavailable(str(error)) from error

    async def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.write(work)
        except DatabaseUnavailable as error:
            raise StoreUnavailable(str(error)) from error


def _saved(row: Sequence[Any]) -> Saved:
    return Saved(layout.decode(row[0]), Revision(row[1]))


def _all_rows(
    statement: Executable, values: dict[str, Any] | None = None
) -> Callable[[Connection], Sequence[Sequence[Any]]]:
    return lambda connection: connection.execute(statement, values).all()
