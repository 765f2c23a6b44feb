"""How SQLite is opened: several readers beside one writer, and what was committed survives a power failure.

The write-ahead log is flushed to disk at each commit (`synchronous=FULL`): an upload whose last byte was acknowledged
must still be known after the power came back. Group commit makes many writes share one flush.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import NullPool, create_engine, event, text
from sqlalchemy.exc import OperationalError

from ..errors import ConfigurationError, PenstockError
from .kind import Kind
from .prepared import Prepared

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.exc import DBAPIError

_LOCK_TIMEOUT_SECONDS: Final = 10.0
"""How long to wait for another process that writes, such as a command of an operator."""
_LOOK_AGAIN_SECONDS: Final = 0.02
_TO_WAL: Final = "PRAGMA journal_mode = WAL"
_EVERYWHERE: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8192",  # KiB
    "PRAGMA wal_autocheckpoint = 4000",  # pages of 4 KiB: each checkpoint flushes the main file
)


def writer_engine(url: URL) -> Engine:
    """Return an engine whose transactions take the write lock at their begin, so that none fails half-way for it."""
    return _engine(url, begin="BEGIN IMMEDIATE", pragmas=_EVERYWHERE)


def reader_engine(url: URL) -> Engine:
    """Return an engine whose transactions see one unchanging state, and cannot write."""
    return _engine(url, begin="BEGIN", pragmas=(*_EVERYWHERE, "PRAGMA query_only = ON"))


def lookup_engine(url: URL) -> Engine:
    """Return an engine without transactions: each statement sees what is committed at its begin."""
    return _engine(url, begin=None, pragmas=(*_EVERYWHERE, "PRAGMA query_only = ON"))


def check(url: URL) -> URL:
    """Return the URL as it is.

    Raises:
        ConfigurationError: it names no file, but a database in memory, which no second connection would see.
    """
    if url.database in (None, "", ":memory:"):
        raise ConfigurationError(f"database {url}: names no file. Write sqlite:///path/to/penstock.db")
    return url


def is_unavailable(error: DBAPIError) -> bool:
    """Tell whether the database is to blame, and not the statement."""
    return isinstance(error, OperationalError)


def cannot_be_opened(name: str, error: DBAPIError) -> PenstockError:
    """Return what to raise when opening or upgrading has failed."""
    return ConfigurationError(
        f"database {name}: cannot be opened: {error.orig}. Check that the folder exists and may be written."
    )


def _engine(url: URL, *, begin: str | None, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(
        url,
        poolclass=NullPool,
        # Each connection is used by one thread at a time; which one is our business.
        connect_args={"timeout": _LOCK_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    def prepare(connection: sqlite3.Connection, record: object) -> None:
        del record
        connection.isolation_level = None  # the driver shall not begin transactions of its own
        _have_wal(connection)
        for pragma in pragmas:
            connection.execute(pragma)

    beginning = Prepared(text(str(begin)))

    def begin_transaction(connection: Connection) -> None:
        beginning.execute(connection, {})

    event.listen(engine, "connect", prepare)
    if begin is not None:
        event.listen(engine, "begin", begin_transaction)
    return engine


def _have_wal(connection: sqlite3.Connection) -> None:
    """Have the database write ahead. SQLite does not wait here, as elsewhere, for another one that does the same."""
    ends_at = time.monotonic() + _LOCK_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute(_TO_WAL)
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the rest of the code says why
            if not is_busy or time.monotonic() > ends_at:
                raise
            time.sleep(_LOOK_AGAIN_SECONDS)
        else:
            return


KIND: Final = Kind(
    check=check,
    writer_engine=writer_engine,
    reader_engine=reader_engine,
    lookup_engine=lookup_engine,
    limit=None,
    order=None,
    is_unavailable=is_unavailable,
    cannot_be_opened=cannot_be_opened,
)
