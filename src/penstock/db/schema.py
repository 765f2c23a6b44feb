"""Brings the tables of a database up to what this version of the program works with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from ..errors import ConfigurationError
from .tables import SCHEMA_REVISION, metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"

_LOCK: Final = int.from_bytes(b"penstock")
"""The key of the lock, of which a PostgreSQL database has one set for all that use it."""
_LOCK_MILLISECONDS: Final = 60_000
"""How long another process may take to upgrade before this one gives up."""
_VERSION_TABLE: Final = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
"""As the migration tool makes it."""


class NewerSchema(ConfigurationError):
    """A later version of the program has written this database, in a way that this one cannot know."""

    code = "newer-schema"

    def __init__(self, database: str, found: str) -> None:
        super().__init__(
            f"{database} was written by a newer version of Penstock (schema {found}; this version knows up to "
            f"{SCHEMA_REVISION}). Start that version again, or restore the backup from before the upgrade."
        )
        self.found = found


def upgrade(engine: Engine, name: str) -> None:
    """Create or change the tables as needed, all at once or not at all; `name` is the database's, for messages.

    A database that is up to date costs one look. Two processes that start together take turns.

    Raises:
        NewerSchema: nothing was changed.
    """
    with engine.connect() as connection:
        if current_revision(connection) == SCHEMA_REVISION:
            return
    with engine.begin() as connection:  # what the other process did in between is seen now
        _take_the_lock(connection)
        found = current_revision(connection)
        if found is not None and found > SCHEMA_REVISION:
            raise NewerSchema(name, found)
        if found is None and connection.dialect.name == "sqlite":
            _create(connection)
        elif found != SCHEMA_REVISION:
            _migrate(connection)


def _take_the_lock(connection: Connection) -> None:
    """Keep other processes from changing the tables until the transaction ends. In SQLite its begin does it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}"))
        # A busy machine may take seconds to load the migrations, which the server would take for our death.
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {_LOCK_MILLISECONDS}"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def current_revision(connection: Connection) -> str | None:
    """Return the newest migration that the database has seen; None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _create(connection: Connection) -> None:
    """Make the tables of an empty database as all migrations would leave them, which a test compares.

    That is what `penstock serve` meets at its first start, and saves it loading the migration tool.
    """
    metadata.create_all(connection, checkfirst=False)
    connection.execute(text(_VERSION_TABLE))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": SCHEMA_REVISION})


def _migrate(connection: Connection) -> None:
    from alembic import command  # costs a tenth of a second, so only who needs it pays
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
