"""In what the kinds of database differ; one file per kind fills it in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from ..errors import ConfigurationError, PenstockError, Unavailable

_KINDS: Final = {"postgres": "postgres", "postgresql": "postgres", "sqlite": "sqlite"}
"""The begin of a URL, and the module."""


class DatabaseUnavailable(Unavailable):
    """The database could not be read or written: the disk is full or broken, somebody holds the lock, it is away.

    In SQLite nothing of a write was kept. Where the database is a server, a write whose answer did not come may have
    been kept: read before you decide.
    """

    code = "database-unavailable"


def reason_of(error: DBAPIError) -> str:
    """Return what the database said, on one line: libpq takes several."""
    return " ".join(str(error.orig).split())


ORDERED: Final = "penstock.ordered"
"""In the `info` of a connection whose transactions come one after the other, among all processes (`Kind.order`)."""


def is_alone(connection: Connection) -> bool:
    """Tell whether nobody else can write until the connection's transaction ends. Of SQLite that is always so."""
    return connection.dialect.name == "sqlite" or ORDERED in connection.info


@dataclass(frozen=True, slots=True)
class Limit:
    """How long an answer is waited for, and what is done then."""

    seconds: float
    sever: Callable[[Connection], None]
    """Cut the connection that another thread waits on, which fails there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of database."""

    check: Callable[[URL], URL]
    """Return the URL to use; raises ConfigurationError for one that cannot be."""
    writer_engine: Callable[[URL], Engine]
    """Make the engine for the one connection that writes."""
    reader_engine: Callable[[URL], Engine]
    """Make the engine for those that read: a transaction sees one unchanging state, and cannot write."""
    lookup_engine: Callable[[URL], Engine]
    """Make the engine for finding by key: without transactions, and it cannot write either."""
    limit: Limit | None
    """None where it is our own process that does the work, so that nobody need be waited for."""
    order: Callable[[Engine], None] | None
    """Have the engine's transactions begin one after the other, whoever writes; None where they do anyway."""
    is_unavailable: Callable[[DBAPIError], bool]
    """Tell whether the database is to blame for an error, and not what was asked."""
    cannot_be_opened: Callable[[str, DBAPIError], PenstockError]
    """Return what to raise when opening or upgrading the named database has failed."""


def kind_of(url: URL, name: str) -> Kind:
    """Return what to know of the database at a URL; `name` is the database's, for messages.

    Raises:
        ConfigurationError: we know no such kind, or its driver is not installed.
    """
    module = _KINDS.get(url.get_backend_name())
    if module is None:
        raise ConfigurationError(
            f"database {name}: this kind is not supported. Write sqlite:///path/to/penstock.db or postgresql://host/name"
        )
    try:
        kind: Kind = import_module(f".{module}", __package__).KIND
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"database {name} needs the module {error.name!r}, which is not installed. "
            f"Install it with: pip install 'penstock[{module}]'"
        ) from error
    return kind
