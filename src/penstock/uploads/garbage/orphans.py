"""Staged bytes that belong to no upload, and since when that is known.

An upload's bytes are made before its entry, so a death in between leaves an empty file: nobody was told of it. Bytes
with something in them should never be without an entry. If they are, an entry was lost (an older database was put
back, the folder came from elsewhere), and somebody may want them: they are kept for as long as an unfinished upload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert  # its clause for conflicts is also that of SQLite

from ...db.instants import from_microseconds, to_microseconds
from ...db.tables import orphans

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import Connection

    from ...db import Database

_BATCH: Final = 500
_INSERT: Final = insert(orphans).on_conflict_do_nothing()


class Orphans:
    """Remembers them, also over restarts. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, database: Database, *, where: str = "") -> None:
        """Two with another `where` know nothing of each other's."""
        self._database = database
        self._prefix = f"{where}:" if where else ""

    async def seen(self) -> dict[str, datetime]:
        """Return the IDs that are remembered, with the times at which they were first noticed."""
        column = orphans.c.upload_id
        # A colon is in no upload ID. No range: which characters are between two others is up to the database.
        mine = column.startswith(self._prefix, autoescape=True) if self._prefix else ~column.contains(":")
        rows = await self._database.read(lambda connection: connection.execute(select(orphans).where(mine)).all())
        return {upload_id.removeprefix(self._prefix): from_microseconds(seen_at) for upload_id, seen_at in rows}

    async def remember(self, upload_ids: Collection[str], at: datetime) -> None:
        """Note IDs that are not remembered yet."""
        rows = [{"upload_id": self._prefix + upload_id, "seen_at": to_microseconds(at)} for upload_id in upload_ids]
        if rows:
            await self._database.write(lambda connection: connection.execute(_INSERT, rows).close())

    async def forget(self, upload_ids: Collection[str]) -> None:
        """Forget IDs, whether they were remembered or not."""
        ids = [self._prefix + upload_id for upload_id in upload_ids]

        def work(connection: Connection) -> None:
            for begin in range(0, len(ids), _BATCH):
                connection.execute(delete(orphans).where(orphans.c.upload_id.in_(ids[begin : begin + _BATCH])))

        if ids:
            await self._database.write(work)
