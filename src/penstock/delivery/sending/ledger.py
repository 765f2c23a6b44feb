"""What is remembered of deliveries over restarts and for all instances: a line for each upload, about its latest start.

That it was said after its bytes were delivered, and with which address: without it a restart would deliver again what
its worker has long taken, and begin the same work twice where the bus has forgotten that it knows the event. Before
that, where its file is being sent to; or that its address was used up. The line goes when the upload ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert  # its clause for conflicts is also that of SQLite

from ...db.tables import deliveries

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from ...db import Database


_ON_ITS_WAY: Final = "on its way: "
_USED_UP: Final = "used up: "
"""Before the ID of a start: the line says something else than that it was said."""


class Ledger:
    """The list. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def address(self, upload_id: str, start_id: str) -> str | None:
        """Return the address that a start was said with; None when it was not said yet."""
        wanted = select(deliveries.c.url).where(deliveries.c.upload_id == upload_id, deliveries.c.start_id == start_id)
        url: str | None = await self._database.read(lambda connection: connection.execute(wanted).scalar())
        return url

    async def note(self, upload_id: str, start_id: str, url: str) -> None:
        """Note that a start was said."""
        await self._note(upload_id, start_id, url)

    async def place(self, upload_id: str, start_id: str) -> str | None:
        """Return where the file for a start is being sent to; None when that is not known."""
        return await self.address(upload_id, _ON_ITS_WAY + start_id)

    async def note_place(self, upload_id: str, start_id: str, url: str) -> None:
        """Note where the file for a start is being sent to."""
        await self._note(upload_id, _ON_ITS_WAY + start_id, url)

    async def is_used_up(self, upload_id: str, start_id: str) -> bool:
        """Tell whether the address in a start was good for one reading, and that was."""
        return await self.address(upload_id, _USED_UP + start_id) is not None

    async def line(self, upload_id: str) -> str | None:
        """Return which start an upload's line is about, and what it says of it; None when there is no line."""
        wanted = select(deliveries.c.start_id).where(deliveries.c.upload_id == upload_id)
        line: str | None = await self._database.read(lambda connection: connection.execute(wanted).scalar())
        return line

    async def use_up(self, upload_id: str, start_id: str, *, instead_of: str | None) -> bool:
        """Note that the address in a start is good for nothing any more.

        Return False, with nothing noted, when the upload's line is not `instead_of` any more: it may be about a later
        start by now.
        """
        used_up = {"start_id": _USED_UP + start_id, "url": ""}
        statement = (
            insert(deliveries).values(upload_id=upload_id, **used_up).on_conflict_do_nothing()
            if instead_of is None
            else update(deliveries)
            .where(deliveries.c.upload_id == upload_id, deliveries.c.start_id == instead_of)
            .values(used_up)
        )
        counted = statement.execution_options(preserve_rowcount=True)  # of an INSERT it is not kept by itself
        return await self._database.write(lambda connection: connection.execute(counted).rowcount == 1)

    async def _note(self, upload_id: str, start_id: str, url: str) -> None:
        said = {"start_id": start_id, "url": url}
        statement = insert(deliveries).values(upload_id=upload_id, **said)
        statement = statement.on_conflict_do_update(index_elements=[deliveries.c.upload_id], set_=said)
        await self._database.write(lambda connection: connection.execute(statement).close())

    async def uploads(self) -> list[str]:
        """Return the IDs of all uploads in the list."""
        return await self._database.read(lambda c: list(c.execute(select(deliveries.c.upload_id)).scalars()))

    async def forget(self, upload_ids: Collection[str]) -> None:
        """Remove uploads from the list."""

        def work(connection: Connection) -> None:
            for upload_id in upload_ids:
                connection.execute(delete(deliveries).where(deliveries.c.upload_id == upload_id))

        if upload_ids:
            await self._database.write(work)
