"""The tables of a new SQLite database: recorded when they are made for the first time, then made without Alembic."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine

from penstock.db import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection


def _recorded(migrate: Callable[[Connection], None]) -> list[str]:
    """Return the statements that make what the migrations make."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        migrate(connection)
        made = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        )
        statements = [str(statement) for (statement,) in made]
        revision = schema.current_revision(connection)
    engine.dispose()
    return [*statements, f"INSERT INTO alembic_version VALUES ('{revision}')"]  # noqa: S608  it is ours


@contextmanager
def made_once() -> Iterator[None]:
    """Have new databases of this process get their tables so, while the context is open."""
    migrate = schema._migrate
    recorded = cache(lambda: _recorded(migrate))

    def make(connection: Connection) -> None:
        if connection.dialect.name != "sqlite" or schema.current_revision(connection) is not None:
            migrate(connection)
            return
        for statement in recorded():
            connection.exec_driver_sql(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_migrate", make)
        yield
