"""How PostgreSQL is opened: on another machine, shared with other instances, and now and then away.

Nothing is waited for without an end. Connecting is limited by libpq, waiting for somebody else's lock by the server,
and an answer that does not come by whoever waits for it, who then cuts the connection (`sever`).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.exc import OperationalError

from ..errors import ConfigurationError, PenstockError
from .kind import ORDERED, DatabaseUnavailable, Kind, Limit, reason_of

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.exc import DBAPIError

_CONNECTING: Final = {
    "application_name": "penstock",
    "connect_timeout": "3",  # seconds, for each host
    # A peer that has vanished is noticed while nobody asks it anything.
    "keepalives_idle": "30",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
"""Options of libpq, for those that the URL leaves open."""
_SESSION: Final = (
    # An instance whose machine died in the middle of a transaction must not keep the others from the rows that it
    # has changed, nor from writing at all (`order`), for the two hours after which its connection would end; and before
    # they have lost their patience.
    "SET idle_in_transaction_session_timeout = '3s'",
    # Of rows, for the same reason; the writes that share the transaction are then tried one by one.
    "SET lock_timeout = '5s'",
)
_PASSING: Final = ("starting up", "shutting down", "recovery mode", "not yet accepting", "too many clients", "slots")
"""What a server says that has refused a connection, and may take the next one."""


_ORDER: Final = int.from_bytes(b"penorder")
"""The key of the lock that all who write in order take."""
_READ_ONLY: Final = "25006"
"""The state of an error: the server takes no writes, or not from us. Somebody has made it a standby, or its disk is
nearly full."""
_NO_PERMISSION: Final = "42501"
_ENDED: Final = ("25P03", "25P04")
"""The server has ended a transaction, and the connection, because nothing came for too long (`_SESSION`), or because it
lasted too long. Our process was stopped in its middle; psycopg takes these for mistakes in what is asked."""
_BROKEN: Final = "XX"
"""What states begin with when the server has found its own data damaged."""


def check(url: URL) -> URL:
    """Return the URL with our driver.

    Raises:
        ConfigurationError: it names no database.
    """
    if not url.database:
        where = url.render_as_string(hide_password=True)
        raise ConfigurationError(f"database {where}: names no database. Write postgresql://user@host:5432/penstock")
    several = "," in str(url.query.get("host", ""))
    options = _CONNECTING | ({"target_session_attrs": "read-write"} if several else {})
    given = {name: value for name, value in options.items() if name not in url.query}
    return url.set(drivername="postgresql+psycopg").update_query_dict(given)


def writer_engine(url: URL) -> Engine:
    """Return an engine whose statements each see what others have committed by then."""
    engine = _engine(url, isolation_level="READ COMMITTED")
    event.listen(engine, "handle_error", _leave_if_read_only)
    return engine


def reader_engine(url: URL) -> Engine:
    """Return an engine whose transactions see one unchanging state, and cannot write."""
    engine = _engine(url, isolation_level="REPEATABLE READ")
    return engine.execution_options(postgresql_readonly=True)


def lookup_engine(url: URL) -> Engine:
    """Return an engine without transactions: each statement sees what is committed at its begin, and cannot write."""
    return _engine(url, "SET default_transaction_read_only = on", isolation_level="AUTOCOMMIT")


def order(engine: Engine) -> None:
    """Have each transaction wait, at its begin, until that of another process has ended.

    Numbers are given out before the commit: without this, a reader could see a later one before an earlier one.
    """

    def wait(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ORDER})")
        connection.info[ORDERED] = True

    event.listen(engine, "begin", wait)


def sever(connection: Connection) -> None:
    """Cut a connection that another thread waits on, which then fails there."""
    if connection.invalidated:  # it is just being made anew, which ends by itself
        return
    raw: Any = connection.connection.dbapi_connection
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(raw.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def is_unavailable(error: DBAPIError) -> bool:
    """Tell whether the database is to blame, and not the statement. PostgreSQL also counts limits among its own."""
    state = _state(error.orig)
    if state in (_READ_ONLY, _NO_PERMISSION, *_ENDED) or state.startswith(_BROKEN):
        return True
    return isinstance(error, OperationalError) and not state.startswith("54")


def cannot_be_opened(name: str, error: DBAPIError) -> PenstockError:
    """Return what to raise when connecting or upgrading has failed: is it the configuration, or only the moment?"""
    reason = reason_of(error)
    refused = "FATAL" in reason and not any(words in reason for words in _PASSING)
    if refused or not isinstance(error, OperationalError):
        return ConfigurationError(
            f"database {name}: cannot be opened: {reason}. Check that it exists (CREATE DATABASE …), the user, "
            f"and the password."
        )
    return DatabaseUnavailable(f"database {name}: {reason}")


def _state(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


def _leave_if_read_only(context: ExceptionContext) -> None:
    """Begin a new connection after this: to the server that can be written to now."""
    if _state(context.original_exception) == _READ_ONLY:
        context.is_disconnect = True


def _engine(url: URL, *settings: str, **options: Any) -> Engine:
    engine = create_engine(url, poolclass=NullPool, **options)

    def prepare(connection: psycopg.Connection[Any], record: object) -> None:
        del record
        before, connection.autocommit = connection.autocommit, True
        for statement in (*_SESSION, *settings):
            connection.execute(statement.encode())
        connection.autocommit = before

    event.listen(engine, "connect", prepare)
    return engine


KIND: Final = Kind(
    check=check,
    writer_engine=writer_engine,
    reader_engine=reader_engine,
    lookup_engine=lookup_engine,
    limit=Limit(10.0, sever),
    order=order,
    is_unavailable=is_unavailable,
    cannot_be_opened=cannot_be_opened,
)
