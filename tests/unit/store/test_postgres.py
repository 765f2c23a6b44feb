"""What is particular to the store in PostgreSQL; what every store does is in tests/contract."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

from penstock.db import Database
from penstock.db.tables import progress
from penstock.errors import ConfigurationError
from penstock.store import sql
from penstock.store.base import RecordRefused, StoreUnavailable
from penstock.store.postgres import PostgresStore, url_of
from penstock.store.target import StoreTarget
from penstock.testing import eventually
from penstock.testing.store_contract.records import NOW, SECOND, collect, record
from tests.servers.nats import Certificate
from tests.servers.ports import free_ports
from tests.servers.postgres import PASSWORD, USER, PostgresServer, running_postgres
from tests.unit.store.outages import CALLS, reached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from penstock.store.base import ProgressStore


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as running:
        yield running


@pytest.fixture
def target(server: PostgresServer) -> StoreTarget:
    return StoreTarget(nodes=(server.address,), database=server.new_database(), username=USER, password=PASSWORD)


@pytest.fixture
async def store(target: StoreTarget) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(target) as opened:
        yield opened


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((), "postgresql://me:pw@/postprocessing?host=127.0.0.1&port=5432"),
        (("db1",), "postgresql://me:pw@/postprocessing?host=db1&port=5432"),
        (("db1:5433", "db2"), "postgresql://me:pw@/postprocessing?host=db1%2Cdb2&port=5433%2C5432"),
        (("[::1]:5433",), "postgresql://me:pw@/postprocessing?host=%3A%3A1&port=5433"),
        (("[::1]",), "postgresql://me:pw@/postprocessing?host=%3A%3A1&port=5432"),
        (("postgresql://db1",), "postgresql://me:pw@db1/postprocessing"),
        (("postgres://you:their@db1:5433/x?sslmode=require",), "postgres://you:their@db1:5433/x?sslmode=require"),
    ],
)
def test_nodes_say_where_the_database_is(nodes: tuple[str, ...], expected: str) -> None:
    url = url_of(StoreTarget(nodes=nodes, username="me", password="pw"))
    assert url.render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    "nodes",
    [("db1:x",), (":5432",), ("",), ("mysql://db1",), ("postgresql://a:hunter2@b:c/d",), ("db1", "postgresql://db2")],
)
def test_what_is_no_node_is_told_without_its_password(nodes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="store node") as raised:
        PostgresStore(StoreTarget(nodes=nodes))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (StoreTarget(tls=True), {"sslmode": "verify-full", "sslrootcert": "system"}),
        (StoreTarget(tls=True, tls_insecure=True), {"sslmode": "require"}),
        (StoreTarget(nodes=("postgresql://h?sslmode=disable",), tls=True), {"sslmode": "disable"}),
        (StoreTarget(tls_insecure=True), {}),
    ],
)
def test_tls_is_asked_for_in_the_words_of_libpq(target: StoreTarget, options: dict[str, str]) -> None:
    query = url_of(target).query
    assert {name: value for name, value in query.items() if name.startswith("ssl")} == options


async def test_a_server_is_believed_by_the_authorities_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    trusted, other = Certificate.make(tmp_path), Certificate.make(tmp_path / "other")
    with running_postgres(trusted) as server:

        def store(**options: Any) -> PostgresStore:
            login = StoreTarget(
                nodes=(server.address,), username=USER, password=PASSWORD, database="postgres", tls=True
            )
            return PostgresStore(dataclasses.replace(login, **options))

        for accepted in (store(tls_ca_file=trusted.certificate), store(tls_insecure=True)):
            async with accepted:
                assert await accepted.get("u1") is None
        for refused in (store(tls_ca_file=other.certificate, tls_insecure=True), store()):
            with pytest.raises(StoreUnavailable, match="certificate"):
                async with refused:
                    pass
    with pytest.raises(ConfigurationError, match="no such file"):
        store(tls_ca_file=tmp_path / "missing.pem")


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (sql._GET.statement, "uq_progress_upload_id"),
        (sql._UPDATE.statement, "uq_progress_upload_id"),
        (sql._DELETE.statement, "uq_progress_upload_id"),
        (sql._DUE, "ix_progress_due_at"),
        (sql._NEXT_DUE, "ix_progress_due_at"),
        (sql._LAST, "pk_progress"),
        (sql._PAGE, "pk_progress"),
        (sql._PAGE.where(progress.c.step == "x"), "ix_progress_step"),
        (sql._COUNTS, "ix_progress_step"),
    ],
)
async def test_nothing_is_found_by_reading_all_records(target: StoreTarget, statement: Any, index: str) -> None:
    def plan(connection: Connection) -> str:
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # which is the quickest way while there are few
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        compiled = statement.compile(dialect=connection.dialect)
        values = {name: b"" if name == "new_record" else 1 for name in compiled.params}
        rows = connection.exec_driver_sql(f"EXPLAIN {compiled}", values)
        return "\n".join(rows.scalars())

    async with Database(url_of(target)) as database:
        found = await database.write(plan)
    assert f"using {index} on progress" in found
    assert "Sort" not in found


async def test_while_the_server_is_away_all_calls_say_so_and_afterwards_all_work(
    server: PostgresServer, target: StoreTarget
) -> None:
    async with PostgresStore(target) as store:
        await store.save(record("u0"), expected=None)
        server.kill()
        for call in CALLS:
            with pytest.raises(StoreUnavailable) as raised:
                await call(store)
            assert PASSWORD not in str(raised.value)
        await asyncio.to_thread(server.start_again)
        for call in CALLS:
            await call(store)
        assert await collect(store.all()) == ["u0", "u1"]
    with pytest.raises(StoreUnavailable, match="is not open"):
        await store.get("u0")


async def test_a_server_that_takes_no_writes_for_a_while_is_waited_for(
    server: PostgresServer, target: StoreTarget
) -> None:
    """As when its disk is nearly full and whoever runs it protects it, or when it was made a standby."""
    async with PostgresStore(target) as store:
        await store.save(record("u0"), expected=None)
        server.run("postgres", "ALTER SYSTEM SET default_transaction_read_only = on")
        server.run("postgres", "SELECT pg_reload_conf()")
        try:
            await eventually(lambda: _refuses(store))
            assert await store.get("u0") is not None
        finally:
            server.run("postgres", "ALTER SYSTEM RESET default_transaction_read_only")
            server.run("postgres", "SELECT pg_reload_conf()")
        await eventually(lambda: _takes(store))


async def _refuses(store: PostgresStore) -> bool:
    try:
        await store.remember_answer("virusscan", NOW)
    except StoreUnavailable as error:
        return "read-only transaction" in str(error)
    return False


async def _takes(store: PostgresStore) -> bool:
    return not await _refuses(store)


async def test_a_permission_that_was_taken_away_is_an_outage_until_it_is_given_back(
    server: PostgresServer, target: StoreTarget
) -> None:
    server.run("postgres", f"CREATE ROLE clerk LOGIN PASSWORD '{PASSWORD}'")
    server.run(target.database, "GRANT ALL ON SCHEMA public TO clerk")
    async with PostgresStore(dataclasses.replace(target, username="clerk")) as store:
        await store.save(record("u0"), expected=None)
        server.run(target.database, "REVOKE ALL ON progress FROM clerk")
        with pytest.raises(StoreUnavailable, match="permission denied"):
            await store.save(record("u1"), expected=None)
        with pytest.raises(StoreUnavailable, match="permission denied"):
            await store.get("u0")
        server.run(target.database, "GRANT ALL ON progress TO clerk")
        await store.save(record("u1"), expected=None)


async def test_nothing_is_lost_or_done_twice_when_the_server_is_killed_in_mid_run(
    server: PostgresServer, target: StoreTarget
) -> None:
    async with PostgresStore(target) as one, PostgresStore(target) as other:
        uploads = [f"u{number}" for number in range(8)]
        for upload in uploads:
            await one.save(record(upload), expected=None)
        counted = dict.fromkeys(uploads, 0)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number, upload in enumerate(uploads):
                tasks.create_task(_count_until(stop, one if number % 2 else other, upload, counted))
            for _ in range(2):
                goal = {upload: number + 6 for upload, number in counted.items()}
                await eventually(partial(reached, counted, goal), timeout_seconds=60)
                server.kill()
                await asyncio.to_thread(server.start_again)
            stop.set()
        assert {saved.progress.upload_id: saved.progress.failures async for saved in one.all()} == counted


async def _count_until(stop: asyncio.Event, store: ProgressStore, upload: str, counted: dict[str, int]) -> None:
    """Add one to a record's failures over and over; after trouble, look whether it was done."""
    in_doubt = False
    while not stop.is_set() or in_doubt:
        try:
            saved = await store.get(upload)
            assert saved is not None
            held = saved.progress.failures
            assert held - counted[upload] in ((0, 1) if in_doubt else (0,))
            counted[upload], in_doubt = held, False
            if not stop.is_set():
                in_doubt = True
                await store.save(record(upload, failures=held + 1), expected=saved.revision)
                counted[upload], in_doubt = held + 1, False
        except StoreUnavailable:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["a\0b", "".join(map(chr, range(0x4E00, 0x6000)))], ids=["nul", "long"])
async def test_a_name_that_cannot_be_held_is_refused_and_harms_nobody(store: PostgresStore, name: str) -> None:
    others = [store.save(record(f"u{number}"), expected=None) for number in range(5)]
    refused = [
        store.save(record(name), expected=None),
        store.save(record("u", name), expected=None),
        store.remember_answer(name, NOW),
    ]
    results = await asyncio.gather(*others, *refused, return_exceptions=True)
    assert [type(result) for result in results] == [int] * 5 + [RecordRefused] * 3
    assert not RecordRefused.retryable
    assert await collect(store.all()) == [f"u{number}" for number in range(5)]


async def test_a_name_with_a_nul_cannot_be_looked_for(store: PostgresStore) -> None:
    with pytest.raises(RecordRefused):
        await store.get("a\0b")


async def test_a_time_to_live_is_not_used_and_a_warning_says_so(target: StoreTarget) -> None:
    with capture_logs() as logs:
        async with PostgresStore(dataclasses.replace(target, ttl=timedelta(hours=1))):
            pass
    assert [line["event"] for line in logs] == ["store_ttl_ignored"]


async def test_a_server_that_is_away_at_the_start_is_told() -> None:
    with pytest.raises(StoreUnavailable, match="refused"):
        async with PostgresStore(StoreTarget(nodes=(f"127.0.0.1:{free_ports(1)[0]}",))):
            pass


async def test_a_database_that_is_not_there_ends_the_start(server: PostgresServer) -> None:
    with pytest.raises(ConfigurationError, match="CREATE DATABASE"):
        async with PostgresStore(StoreTarget(nodes=(server.address,), username=USER, password=PASSWORD)):
            pass


async def test_instances_may_start_together_and_see_each_other(target: StoreTarget) -> None:
    async with PostgresStore(target) as one, PostgresStore(target) as other:
        await asyncio.gather(
            *(one.save(record(f"a{number}", due=-SECOND), expected=None) for number in range(50)),
            *(other.save(record(f"b{number}", due=-SECOND), expected=None) for number in range(50)),
        )
        found = await asyncio.gather(one.due(NOW, limit=200), other.due(NOW, limit=200))
        assert [len(due) for due in found] == [100, 100]
