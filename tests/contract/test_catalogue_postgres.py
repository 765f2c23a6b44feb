"""The catalogue on PostgreSQL: by the same tests as on SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.db import Database
from penstock.db.tables import metadata
from tests.unit.uploads.catalogue.test_catalogue import *  # noqa: F403  # every test of the catalogue, on this database
from tests.unit.uploads.catalogue.test_paths import *  # noqa: F403  # and of the files in it

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def name(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
async def database(postgres: PostgresServer, name: str) -> AsyncIterator[Database]:
    async with Database(postgres.url(name), ordered=True) as opened:
        tables = ", ".join(table.name for table in metadata.sorted_tables)
        await opened.write(lambda connection: connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY").close())
        yield opened
