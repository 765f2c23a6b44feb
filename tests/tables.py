"""The tables of a new SQLite database: recorded when they are made for the first time, then made from the record."""

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


def _recorded(create: Callable[[Connection], None]) -> list[str]:
    """Return the statements that make what `create` makes."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        create(connection)
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
    create = schema._create
    recorded = cache(lambda: _recorded(create))

    def make(connection: Connection) -> None:
        for statement in recorded():
            connection.exec_driver_sql(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_create", make)
        yield
