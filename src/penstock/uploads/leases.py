"""Who works on which upload, where several instances share one database: leases that end by themselves.

An instance says again and again that it lives; all of its leases are good for as long. Each has a token that no other
holder of the same upload has or had. What takes effect does so in the transaction, or in the step, in which the token
is compared: so a holder that was away for too long finds out in time, whatever it believes.

The clock is that of the database, so those of the machines may differ.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, delete, select, text

from ..db.prepared import Prepared
from ..db.tables import instances, upload_leases, uploads
from ..errors import NotFound
from ..ids import is_upload_id
from .errors import Interrupted
from .standing import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from sqlalchemy import Connection, TextClause

    from ..db import Database


def _sql(statement: str) -> TextClause:
    """Return a statement with the database's clock in the place of `NOW`, in microseconds as all stored times."""
    return text(statement.replace("NOW", "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"))


_BEAT: Final = _sql(
    "INSERT INTO instances (id, machine, alive_until) VALUES (:instance, :machine, NOW + :lease) "
    "ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until"
)
# Nothing happens to one in the hands of a living instance. One of our own is free: only one of us asks at a time.
# There are none for uploads that do not exist: anybody may ask for those, again and again.
_TAKE: Final = Prepared(
    _sql(
        "INSERT INTO upload_leases AS held (upload_id, token, instance, asked, writer, kept_bytes) "
        "SELECT CAST(:upload AS TEXT), CAST(:token AS BIGINT), CAST(:instance AS TEXT), FALSE, '', NULL "
        "WHERE :is_ours OR EXISTS (SELECT 1 FROM uploads WHERE id = :upload) "
        "ON CONFLICT (upload_id) DO UPDATE "
        "SET token = excluded.token, instance = excluded.instance, asked = FALSE "
        "WHERE held.instance = excluded.instance OR NOT EXISTS "
        "(SELECT 1 FROM instances WHERE instances.id = held.instance AND instances.alive_until > NOW) "
        "RETURNING held.writer, held.kept_bytes"
    )
)
_KNOWN: Final = Prepared(select(uploads.c.id).where(uploads.c.id == bindparam("upload")))
_ASK: Final = Prepared(_sql("UPDATE upload_leases SET asked = TRUE WHERE upload_id = :upload AND NOT asked"))
_MINE: Final = (upload_leases.c.upload_id == bindparam("upload"), upload_leases.c.token == bindparam("token"))
_WRITES: Final = Prepared(
    _sql(
        "UPDATE upload_leases SET writer = :machine, kept_bytes = :kept_bytes "
        "WHERE upload_id = :upload AND token = :token"
    )
)
_FENCED: Final = Prepared(
    _sql("UPDATE upload_leases SET writer = '', kept_bytes = NULL WHERE upload_id = :upload AND token = :token")
)
_CHECK: Final = Prepared(select(upload_leases.c.token).where(*_MINE).with_for_update())
_GIVE_BACK: Final = Prepared(delete(upload_leases).where(*_MINE))
_GIVE_BACK_UNWRITTEN: Final = Prepared(delete(upload_leases).where(*_MINE, upload_leases.c.kept_bytes.is_(None)))
_PASS_ON: Final = Prepared(
    _sql("UPDATE upload_leases SET instance = '', asked = FALSE WHERE upload_id = :upload AND token = :token")
)
_ASKED: Final = select(upload_leases.c.upload_id, upload_leases.c.token).where(
    upload_leases.c.instance == bindparam("instance"), upload_leases.c.asked
)
_ELSEWHERE: Final = _sql("SELECT 1 FROM instances WHERE machine <> :machine AND alive_until > NOW LIMIT 1")
_FORGET: Final = _sql("DELETE FROM instances WHERE alive_until < NOW - 60000000")
_FORGET_UNKNOWN: Final = _sql(
    "DELETE FROM upload_leases WHERE length(upload_id) = 32 "
    "AND NOT EXISTS (SELECT 1 FROM uploads WHERE uploads.id = upload_leases.upload_id) AND NOT EXISTS "
    "(SELECT 1 FROM instances WHERE instances.id = upload_leases.instance AND instances.alive_until > NOW)"
)
_LAPSED: Final = _sql(
    "SELECT upload_id FROM upload_leases WHERE NOT EXISTS "
    "(SELECT 1 FROM instances WHERE instances.id = upload_leases.instance AND instances.alive_until > NOW)"
)


class LeaseLost(Interrupted):
    """Another instance has taken the upload over, because this one gave no sign of life for too long."""


class Lease(NamedTuple):
    """An upload in the hands of one request, or whatever else works on it."""

    upload_id: str
    token: int
    writer: str
    """The machine of an earlier holder that has not given it back, and may write yet; empty: there is none."""
    kept_bytes: int | None
    """How much of what that one wrote was on the disk of all machines for certain; None: there is no such holder, or
    what it writes does not count any more."""

    @classmethod
    def in_doubt(cls, upload_id: str, token: int) -> Lease:
        """Return what may have been taken: whether it was, and after whom, nobody knows."""
        return cls(upload_id, token, "", 0)

    @property
    def alone(self) -> Lease:
        """Return the same, behind a fence."""
        return self._replace(writer="", kept_bytes=None)

    @property
    def lost(self) -> LeaseLost:
        """Return what to raise when it is not ours any more."""
        return LeaseLost(
            f"another instance continues upload {self.upload_id}. Ask for the offset with HEAD before going on."
        )


class Leases:
    """The leases of one instance. Every method may raise `DatabaseUnavailable`.

    Args:
        database: a PostgreSQL that all instances share, with connections of its own: nothing waits here for uploads.
        machine: where this is. Files that processes of the same machine have written, each sees at once.
        lease: for how long a sign of life is good.
        heart: the same database, with a connection for nothing but signs of life: whoever wants a lease may have to
            wait for somebody who was stopped with its row in hand. None: `database`.
    """

    def __init__(self, database: Database, *, machine: str, lease: timedelta, heart: Database | None = None) -> None:
        self.instance = secrets.token_hex(8)
        self.machine = machine
        self.lease = lease
        self.held: dict[str, Lease] = {}
        """Those that this process believes to hold."""
        self._database = database
        self._heart = heart or database

    async def beat(self) -> bool:
        """Give a sign of life; return whether there are instances on other machines."""
        values = {
            "instance": self.instance,
            "machine": self.machine,
            "lease": int(self.lease.total_seconds() * 1_000_000),
        }

        def work(connection: Connection) -> bool:
            connection.execute(_BEAT, values)
            return connection.execute(_ELSEWHERE, {"machine": self.machine}).first() is not None

        return await self._heart.write(work)

    async def end(self) -> None:
        """Say that this instance lives no more, and forget those that have not for a minute."""

        def work(connection: Connection) -> None:
            connection.execute(delete(instances).where(instances.c.id == self.instance))
            connection.execute(_FORGET)

        await self._database.write(work)

    async def take(self, upload_id: str, token: int, *, ask: bool = True) -> Lease | None:
        """Return the lease of an upload, or None: it is in the hands of somebody else, who was asked to let go.

        `token` is new (`new_token`). Without an answer, the lease may be ours all the same: give back what is
        `Lease.in_doubt`.

        Raises:
            NotFound: there is no such upload, and so no lease.
        """
        values = {"upload": upload_id, "token": token, "instance": self.instance}
        values_of_take = {**values, "is_ours": not is_upload_id(upload_id)}

        def work(connection: Connection) -> Sequence[object] | NotFound | None:
            row = _TAKE.first(connection, values_of_take)
            if row is None and not _KNOWN.first(connection, values) and is_upload_id(upload_id):
                return unknown(upload_id)
            if row is None and ask:
                _ASK.execute(connection, values)
            return row

        found = await self._database.write(work)
        if isinstance(found, NotFound):
            raise found
        return None if found is None else Lease(upload_id, token, *found)  # type: ignore[arg-type]

    async def writes(self, lease: Lease, kept_bytes: int) -> None:
        """Note that the holder has a file open for writing, and that so much is on disk for certain.

        Raises:
            LeaseLost: it must not write.
        """
        values = {**_named(lease), "machine": self.machine, "kept_bytes": kept_bytes}
        if await self._database.write(lambda connection: _WRITES.execute(connection, values)) != 1:
            raise lease.lost

    async def fenced(self, lease: Lease) -> None:
        """Note that whatever an earlier holder writes does not count any more.

        Raises:
            LeaseLost: nothing was noted.
        """
        if await self._database.write(lambda connection: _FENCED.execute(connection, _named(lease))) != 1:
            raise lease.lost

    async def confirm(self, lease: Lease) -> None:
        """Make sure that the lease is still ours.

        Raises:
            LeaseLost: it is not.
        """
        await self._database.write(lambda connection: self.check(connection, lease))

    def check(self, connection: Connection, lease: Lease) -> None:
        """Make sure that the lease is still ours, and stays so until the connection's transaction ends.

        Raises:
            LeaseLost: it is not.
        """
        if _CHECK.first(connection, _named(lease)) is None:
            raise lease.lost

    def guard(self, connection: Connection, upload_id: str) -> None:
        """Make sure that this process holds an upload's lease, and does so until the connection's transaction ends.

        Raises:
            LeaseLost: it does not.
        """
        lease = self.held.get(upload_id)
        if lease is None:
            raise Interrupted(f"upload {upload_id}: nobody here works on it any more. Ask for the offset with HEAD.")
        self.check(connection, lease)

    async def give_back(self, lease: Lease) -> bool:
        """Let go; return False if the lease was lost before.

        Where an earlier holder may write yet, that is remembered for the next one.
        """

        def work(connection: Connection) -> bool:
            if lease.kept_bytes is None:
                return _GIVE_BACK.execute(connection, _named(lease)) == 1
            return (
                _GIVE_BACK_UNWRITTEN.execute(connection, _named(lease)) == 1
                or _PASS_ON.execute(connection, _named(lease)) == 1
            )

        return await self._database.write(work)

    async def asked(self) -> list[tuple[str, int]]:
        """Return what others wait for: upload and token."""
        rows = await self._database.read(
            lambda connection: connection.execute(_ASKED, {"instance": self.instance}).all()
        )
        return [(upload_id, token) for upload_id, token in rows]

    async def lapsed(self) -> list[str]:
        """Return the uploads that dead instances were working on, or that wait for a fence.

        Leases of those that are forgotten by now are, too.
        """

        def work(connection: Connection) -> list[str]:
            connection.execute(_FORGET_UNKNOWN)
            return [upload_id for (upload_id,) in connection.execute(_LAPSED)]

        return await self._database.write(work)


def new_token() -> int:
    """Return a token that no holder of any upload has or had."""
    return secrets.randbits(62)


def _named(lease: Lease) -> dict[str, object]:
    return {"upload": lease.upload_id, "token": lease.token}
