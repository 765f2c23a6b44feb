"""The store in PostgreSQL is a store that outlives its process and is shared."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from penstock.db.postgres import KIND
from penstock.db.schema import upgrade
from penstock.store.postgres import PostgresStore
from penstock.store.target import StoreTarget
from penstock.testing.store_contract import DurableStoreContract, KeepsOrder, RefusesForeignValues
from tests.servers.postgres import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from penstock.store.base import ProgressStore
    from tests.servers.postgres import PostgresServer


@asynccontextmanager
async def open_store(argument: str) -> AsyncIterator[ProgressStore]:
    node, database = json.loads(argument)
    target = StoreTarget(nodes=(node,), database=database, username=USER, password=PASSWORD)
    async with PostgresStore(target) as store:
        yield store


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> str:
    """One for all tests: making the tables anew for each takes longer than most tests."""
    name = postgres.new_database()
    engine = KIND.writer_engine(KIND.check(postgres.url(name)))
    upgrade(engine, name)
    engine.dispose()
    return name


class TestPostgresStore(DurableStoreContract, KeepsOrder, RefusesForeignValues):
    """Runs the suites."""

    factory = "tests.contract.test_store_postgres:open_store"

    @pytest.fixture(autouse=True)
    def in_empty_tables(self, postgres: PostgresServer, database: str) -> None:
        self.postgres = postgres
        self.database = database
        postgres.run(database, "TRUNCATE progress, step_answers")

    def argument(self) -> str:
        return json.dumps([self.postgres.address, self.database])

    async def put(self, upload_id: str, value: bytes) -> None:
        self.postgres.run(self.database, "UPDATE progress SET record = %s WHERE upload_id = %s", value, upload_id)
