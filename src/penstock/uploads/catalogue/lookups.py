"""What can be asked about all uploads: one of them, lists, and those that something is to be done with."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, true, tuple_

from ...db.instants import to_microseconds
from ...db.tables import uploads
from ..upload import Phase, Upload
from . import journal, statements
from .filters import Filters, pages
from .listing import Page, merged, number_of
from .rows import COLUMNS, final_key, upload_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Executable

    from ...db import Database

_BATCH: Final = 500


class Lookups:
    """Answers from the database, and changes nothing. Every method may raise `DatabaseUnavailable`.

    Args:
        database: open while this is used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, upload_id: str) -> Upload | None:
        """Return one upload, or None when there is none."""
        row = await self._database.find(lambda connection: statements.GET.first(connection, {"upload": upload_id}))
        return None if row is None else upload_of(row)

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Upload]:
        """Return those of the uploads that exist, by ID."""
        found: dict[str, Upload] = {}
        ids = iter(upload_ids)
        while batch := list(islice(ids, _BATCH)):
            rows = await self._database.read(_rows(statements.GET_MANY, {"ids": batch}))
            found |= {upload.id: upload for upload in map(upload_of, rows)}
        return found

    async def list(
        self,
        *,
        ids: Sequence[str] | None = None,
        phases: Sequence[Phase] | None = None,
        expired: bool | None = None,
        has_virus: bool | None = None,
        space: str | None = None,
        filename: str | None = None,
        owner: str | None = None,
        now: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of the uploads that match all filters (`Filters`), the newest first.

        `cursor` is a page's `next`; uploads that come, change or go in between neither repeat nor hide others.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """
        filters = Filters(
            ids=ids,
            phases=phases,
            expired=expired,
            has_virus=has_virus,
            space=space,
            filename=filename,
            owner=owner,
            now=now,
        )
        statements = pages(filters, COLUMNS, before=number_of(cursor), limit=limit + 1)
        rows = await self._database.read(lambda connection: merged(connection, statements, limit + 1))
        more = len(rows) > limit
        return Page([upload_of(row) for row in rows[:limit]], str(rows[limit - 1][0]) if more else None)

    async def runs_in_processing(self) -> AsyncIterator[dict[str, int]]:
        """Yield, in batches, the numbers of the runs that uploads are in, by their IDs; the newest uploads first.

        Uploads that come, change or go in between neither repeat nor hide others.
        """
        statement = statements.RUNS
        while rows := await self._database.read(_rows(statement)):
            yield {upload_id: run for _, upload_id, run in rows}
            statement = statements.RUNS.where(uploads.c.seq < rows[-1][0])

    async def phases(self, upload_ids: Iterable[str]) -> dict[str, Phase]:
        """Return the phases of those of the uploads that exist, by ID."""
        rows = await self._database.read(_rows(statements.PHASES, {"ids": list(upload_ids)}))
        return {upload_id: Phase(phase) for upload_id, phase in rows}

    async def waiting_finals(self, part_id: str | None = None) -> Sequence[Upload]:
        """Return the uploads that are to be made of parts, and are not yet; with `part_id`, only those of that part.

        Each may name parts in 64 KiB: who asks for one of them is not to read thousands.
        """
        if part_id is None:
            return [upload_of(row) for row in await self._database.read(_rows(statements.WAITING))]
        rows = await self._database.read(_rows(statements.WAITING_FOR, {"part": part_id}))
        return [final for row in rows if part_id in (final := upload_of(row)).parts]

    async def same_final(self, upload: Upload) -> Upload | None:
        """Return an upload made of the same parts, with the same metadata, unless it came to a bad end; or None."""
        rows = await self._database.read(_rows(statements.SAME_FINAL, {"key": final_key(upload)}))
        return upload_of(rows[0]) if rows else None

    async def caused_by(self, upload_id: str) -> str:
        """Return the event that asked for the present run; empty if none did, or there is no such upload."""
        row = await self._database.find(lambda connection: statements.CAUSE.first(connection, {"upload": upload_id}))
        return "" if row is None else row[0]

    async def last_start(self, upload_id: str) -> tuple[str, str, int | None] | None:
        """Return start event, step and attempt that were last noted in the upload's present run, or None."""
        return await self._database.find(lambda connection: journal.last_start(connection, upload_id))

    async def is_written(self, upload_id: str, key: str) -> bool:
        """Tell whether the upload is in processing, and the happening of this key was noted of it."""
        return await self._database.find(lambda connection: journal.is_written(connection, upload_id, key))

    async def counts(self) -> dict[Phase, int]:
        """Return how many uploads are in each phase, those with none included."""
        found = dict.fromkeys(Phase, 0)
        for phase, number in await self._database.read(_rows(statements.COUNTS)):
            found[Phase(phase)] = number
        return found

    async def declared_bytes(self) -> int:
        """Return the sum of the sizes of all uploads whose bytes are on their way in, arrived or not."""
        total: int = await self._database.read(lambda connection: connection.execute(statements.DECLARED).scalar_one())
        return total

    async def oldest(self, phase: Phase) -> Upload | None:
        """Return the upload of a phase that was created first, or None."""
        rows = await self._database.read(_rows(statements.OLDEST, {"in_phase": phase.value}))
        return upload_of(rows[0]) if rows else None

    def overdue(self, now: datetime) -> AsyncIterator[Sequence[Upload]]:
        """Yield, in batches, the uploads that are not complete though their time is over; the longest overdue first."""
        due = uploads.c.expires_at <= to_microseconds(now)
        return self._batches((statements.IS_RECEIVING, due), uploads.c.expires_at)

    def gone_before(self, cutoff: datetime) -> AsyncIterator[Sequence[Upload]]:
        """Yield, in batches, the uploads that gave up their bytes, all of them, up to `cutoff`."""
        past = uploads.c.ended_at <= to_microseconds(cutoff)
        return self._batches((statements.IS_GONE, past, uploads.c.discard_pending.is_not(true())), uploads.c.ended_at)

    def to_discard(self) -> AsyncIterator[Sequence[Upload]]:
        """Yield, in batches, the uploads whose bytes were given up, but may still be there."""
        return self._batches((statements.TO_DISCARD,), uploads.c.seq)

    async def _batches(
        self, conditions: Sequence[ColumnElement[bool]], order: ColumnElement[Any]
    ) -> AsyncIterator[Sequence[Upload]]:
        page = select(*COLUMNS, order).where(*conditions).order_by(order, uploads.c.seq).limit(_BATCH)
        statement = page
        while rows := await self._database.read(_rows(statement)):
            yield [upload_of(row[:-1]) for row in rows]
            statement = page.where(tuple_(order, uploads.c.seq) > tuple_(rows[-1][-1], rows[-1][0]))


def _rows(
    statement: Executable, values: dict[str, Any] | None = None
) -> Callable[[Connection], Sequence[Sequence[Any]]]:
    return lambda connection: connection.execute(statement, values).all()
