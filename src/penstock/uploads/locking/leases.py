"""Who works on which upload, where several instances share one database: leases that end by themselves.

An instance says again and again that it lives; all of its leases are good for as long. Each has a token that no other
holder of the same upload has or had. What takes effect does so in the transaction, or in the step, in which the token
is compared: so a holder that was away for too long finds out in time, whatever it believes.

The clock is that of the database, so those of the machines may differ.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete

from ...db.tables import instances
from ...errors import NotFound
from ...ids import is_upload_id
from ..errors import Interrupted
from ..standing import unknown
from . import lease_statements as sql

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from sqlalchemy import Connection

    from ...db import Database


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


class Wanted(NamedTuple):
    """A lease that a request asks for."""

    upload_id: str
    token: int
    """A new one (`new_token`)."""
    ask: bool = True
    """Whether somebody who has it is asked to let go."""
    offset: int | None = None
    """From where on the upload is to be continued: nobody is asked who has got further. None: not at all."""


class Taken(NamedTuple):
    """What is found where somebody else holds a lease."""

    alive_until: int
    """Until when their instance has said that it lives, in microseconds, by the database's clock; 0: it has just gone.

    One that lives says so again and again. If this stays the same for longer than that takes, it is dead: the clock was
    set back, and believes its last words for too long."""
    kept_bytes: int | None = None
    """How much is there for certain, at least; None: nobody knows."""

    def is_past(self, offset: int | None) -> bool:
        """Tell whether somebody who wants to continue there (None: nowhere) could not, even if the holder stopped."""
        return offset is not None and self.kept_bytes is not None and offset < self.kept_bytes


class Leases:
    """The leases of one instance. Every method may raise `DatabaseUnavailable`.

    Args:
        database: a PostgreSQL that all instances share, with connections of its own: nothing waits here for uploads.
        machine: where this is. Files that processes of the same machine have written, each sees at once.
        lease: for how long a sign of life is good.
        heart: the same database, with a connection for nothing but signs of life: whoever wants a lease may have to
            wait for somebody who was stopped with its row in hand. None: `database`.
        lookups: the same database, with connections that only find, so that who waits is heard meanwhile. None:
            `database`. Nothing is found by the other two.
    """

    def __init__(
        self,
        database: Database,
        *,
        machine: str,
        lease: timedelta,
        heart: Database | None = None,
        lookups: Database | None = None,
    ) -> None:
        self.instance = secrets.token_hex(8)
        self.machine = machine
        self.lease = lease
        self.held: dict[str, Lease] = {}
        """Those that this process believes to hold."""
        self._database = database
        self._heart = heart or database
        self._lookups = lookups or database

    async def beat(self) -> bool:
        """Give a sign of life; return whether there are instances on other machines."""
        values = {
            "instance": self.instance,
            "machine": self.machine,
            "lease": int(self.lease.total_seconds() * 1_000_000),
        }

        def work(connection: Connection) -> bool:
            connection.execute(sql.BEAT, values)
            return connection.execute(sql.ELSEWHERE, {"machine": self.machine}).first() is not None

        return await self._heart.write(work)

    async def end(self) -> None:
        """Say that this instance lives no more, and forget those that have not for a minute."""

        def work(connection: Connection) -> None:
            connection.execute(delete(instances).where(instances.c.id == self.instance))
            connection.execute(sql.FORGET)

        await self._database.write(work)

    async def take(self, wanted: Wanted, *, dead: int | None = None) -> Lease | Taken:
        """Return the lease of an upload, or who has it, and was asked to let go.

        Without an answer, the lease may be ours all the same: give back what is `Lease.in_doubt`.

        Args:
            wanted: which one.
            dead: what was `Taken.alive_until` for too long; None: nothing was.

        Raises:
            NotFound: there is no such upload, and so no lease.
        """
        upload, named = {"upload": wanted.upload_id}, not is_upload_id(wanted.upload_id)
        values = {**upload, "token": wanted.token, "instance": self.instance, "is_ours": named, "dead": dead}

        def work(connection: Connection) -> Lease | Taken | NotFound:
            row = sql.TAKE.first(connection, values)
            if row is not None:
                return Lease(wanted.upload_id, wanted.token, *row)
            if not named and not sql.KNOWN.first(connection, upload):
                return unknown(wanted.upload_id)
            holder = sql.HOLDER.first(connection, upload)
            taken = Taken(0) if holder is None else Taken(*holder)
            if wanted.ask and not taken.is_past(wanted.offset):
                sql.ASK.execute(connection, upload)
            return taken

        found = await self._database.write(work)
        if isinstance(found, NotFound):
            raise found
        return found

    async def writes(self, lease: Lease, kept_bytes: int) -> None:
        """Note that the holder has a file open for writing, and that so much is on disk for certain.

        Raises:
            LeaseLost: it must not write.
        """
        values = {**_named(lease), "machine": self.machine, "kept_bytes": kept_bytes}
        if await self._database.write(lambda connection: sql.WRITES.execute(connection, values)) != 1:
            raise lease.lost

    async def fenced(self, lease: Lease) -> None:
        """Note that whatever an earlier holder writes does not count any more.

        Raises:
            LeaseLost: nothing was noted.
        """
        if await self._database.write(lambda connection: sql.FENCED.execute(connection, _named(lease))) != 1:
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
        if sql.CHECK.first(connection, _named(lease)) is None:
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
                return sql.GIVE_BACK.execute(connection, _named(lease)) == 1
            return (
                sql.GIVE_BACK_UNWRITTEN.execute(connection, _named(lease)) == 1
                or sql.PASS_ON.execute(connection, _named(lease)) == 1
            )

        return await self._database.write(work)

    async def asked(self) -> list[tuple[str, int]]:
        """Return what others wait for: upload and token."""
        rows = await self._lookups.find(lambda connection: sql.ASKED.all(connection, {"instance": self.instance}))
        return [(upload_id, token) for upload_id, token in rows]

    async def last_words(self) -> dict[str, int]:
        """Return until when each instance has said that it lives, in microseconds, by the database's clock."""
        rows = await self._lookups.find(lambda connection: sql.LIVING.all(connection, {}))
        return {row[0]: row[1] for row in rows}

    async def lapsed(self, silent: Mapping[str, int] | None = None) -> list[str]:
        """Return the uploads that dead instances were working on, or that wait for a fence.

        Forgotten are leases of uploads that are, and instances that have not lived for a minute; and those that are
        `silent`, unless they have said something other than these last words since.
        """

        def work(connection: Connection) -> list[str]:
            for instance, words in (silent or {}).items():
                connection.execute(sql.FORGET_SILENT, {"silent": instance, "words": words})
            connection.execute(sql.FORGET_UNKNOWN)
            connection.execute(sql.FORGET)
            return [upload_id for (upload_id,) in connection.execute(sql.LAPSED)]

        return await self._database.write(work)


def new_token() -> int:
    """Return a token that no holder of any upload has or had."""
    return secrets.randbits(62)


def _named(lease: Lease) -> dict[str, object]:
    return {"upload": lease.upload_id, "token": lease.token}
