"""Which starts were said after their bytes were delivered, over restarts and for all instances.

Without it a restart would deliver again what its worker has long taken, and begin the same work twice where the bus has
forgotten that it knows the event. One line for each upload, the latest; it goes when the upload ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from ...db.tables import deliveries

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from ...db import Database


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

        def work(connection: Connection) -> None:
            connection.execute(delete(deliveries).where(deliveries.c.upload_id == upload_id))
            row = {"upload_id": upload_id, "start_id": start_id, "url": url}
            connection.execute(insert(deliveries).values(row))

        await self._database.write(work)

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
