"""The database on PostgreSQL: what a server does that a file does not, such as being away."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, insert, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from penstock.db import Database, DatabaseUnavailable, postgres, schema
from penstock.db.schema import NewerSchema, current_revision, upgrade
from penstock.db.tables import SCHEMA_REVISION, metadata, step_answers
from penstock.errors import ConfigurationError
from penstock.testing import eventually
from tests.servers.ports import free_ports
from tests.servers.postgres import PASSWORD, PostgresServer, running_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy import URL, Engine


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> URL:
    return server.url(server.new_database())


@pytest.fixture
async def database(url: URL) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        yield opened


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    made = postgres.writer_engine(postgres.check(url))
    yield made
    made.dispose()


def answered(step: str, at: int = 1) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute(insert(step_answers).values(step=step, at=at))

    return work


def steps(connection: Connection) -> list[str]:
    return sorted(connection.execute(select(step_answers.c.step)).scalars())


def hang_up(connection: Connection) -> None:
    """Have the server end the connection, as it does with all of them when it is restarted."""
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def pause(server: PostgresServer, connection: Connection) -> None:
    """Do nothing in the middle of a transaction, as a process that is stopped does, until the server ends it."""
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1ms'"))
    mine = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]  # psycopg's
    while server.run("postgres", "SELECT 1 FROM pg_stat_activity WHERE pid = %s", mine):
        pass


def impatient(url: URL, seconds: float) -> Database:
    """A database that waits for less than it would."""
    made = Database(url)
    assert made._limit is not None
    made._limit = dataclasses.replace(made._limit, seconds=seconds)
    return made


def test_the_migrations_make_the_tables_that_the_code_works_with(engine: Engine) -> None:
    upgrade(engine, "test")
    with engine.begin() as connection:
        assert current_revision(connection) == SCHEMA_REVISION
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        migrated = _indexes(connection)
        for table in reversed(metadata.sorted_tables):
            table.drop(connection)
        metadata.create_all(connection)
        assert _indexes(connection) == migrated
    assert len(migrated) > 10


def _indexes(connection: Connection) -> set[str]:
    """Their definitions, with the conditions that Alembic's comparison does not look at."""
    rows = connection.execute(text("SELECT indexdef FROM pg_indexes WHERE tablename <> 'alembic_version'"))
    return set(rows.scalars())


def test_the_server_waits_for_a_machine_that_loads_the_migrations_slowly(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[str | None] = []

    def look(connection: Connection) -> None:
        limits.append(connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar())

    monkeypatch.setattr(schema, "_migrate", look)
    upgrade(engine, "test")
    with engine.begin() as connection:
        look(connection)
    assert limits == ["1min", "3s"]


def test_those_that_start_together_take_turns(url: URL) -> None:
    failed: list[BaseException] = []
    barrier = threading.Barrier(5)

    def start() -> None:
        engine = postgres.writer_engine(postgres.check(url))
        barrier.wait(60)
        try:
            upgrade(engine, "test")
        except BaseException as error:  # noqa: BLE001  # looked at below
            failed.append(error)
        engine.dispose()

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


def test_tables_of_a_newer_version_are_left_alone(engine: Engine) -> None:
    upgrade(engine, "test")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerSchema):
        upgrade(engine, "test")


async def test_what_was_written_is_there_for_readers(database: Database) -> None:
    await asyncio.gather(*(database.write(answered(f"{number:03}")) for number in range(300)))
    assert await database.read(steps) == [f"{number:03}" for number in range(300)]


async def test_the_others_of_a_batch_do_not_notice_one_that_fails(database: Database) -> None:
    await database.write(answered("twice"))
    results = await asyncio.gather(
        *(database.write(answered(f"{number}")) for number in range(20)),
        database.write(answered("twice")),
        *(database.write(answered(f"{number}")) for number in range(20, 40)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None)] * 20 + [IntegrityError] + [type(None)] * 20
    assert len(await database.read(steps)) == 41


async def test_a_reader_sees_one_unchanging_state(database: Database) -> None:
    await database.write(answered("before"))
    loop = asyncio.get_running_loop()

    def look_twice(connection: Connection) -> tuple[list[str], list[str]]:
        first = steps(connection)
        asyncio.run_coroutine_threadsafe(database.write(answered("meanwhile")), loop).result(60)
        return first, steps(connection)

    assert await database.read(look_twice) == (["before"], ["before"])


async def test_what_is_found_by_key_waits_for_no_list(database: Database) -> None:
    await database.write(answered("one"))
    gate = threading.Event()
    lists = [asyncio.create_task(database.read(lambda connection: gate.wait(60))) for _ in range(10)]
    try:
        assert await database.find(steps) == ["one"]
    finally:
        gate.set()
        await asyncio.gather(*lists)


async def test_who_finds_cannot_write_either(database: Database) -> None:
    with pytest.raises(Exception, match="read-only transaction"):
        await database.find(answered("sneaked in"))
    assert await database.read(steps) == []


async def test_readers_cannot_write_and_nothing_is_looked_up_on_the_event_loop(database: Database) -> None:
    with pytest.raises(Exception, match="read-only transaction"):
        await database.read(answered("sneaked in"))
    with pytest.raises(DatabaseUnavailable, match="it is a server"):
        database.lookup(steps)


async def test_a_restart_while_nothing_is_asked_is_not_noticed(server: PostgresServer, database: Database) -> None:
    await database.write(answered("before"))
    await asyncio.gather(*(ask(steps) for ask in (database.read, database.find) for _ in range(8)))
    server.kill()
    await asyncio.to_thread(server.start_again)
    found = await asyncio.gather(*(ask(steps) for ask in (database.read, database.find) for _ in range(8)))
    assert found == [["before"]] * 16
    await asyncio.gather(*(database.write(answered(f"{number}")) for number in range(50)))
    assert len(await database.read(steps)) == 51


async def test_while_it_is_away_all_calls_say_so_and_afterwards_all_work(
    server: PostgresServer, database: Database
) -> None:
    server.kill()
    results = await asyncio.gather(
        *(database.write(answered(f"{number}")) for number in range(300)),
        *(ask(steps) for ask in (database.read, database.find) for _ in range(20)),
        return_exceptions=True,
    )
    assert {type(result) for result in results} == {DatabaseUnavailable}
    assert all(PASSWORD not in str(result) and "\n" not in str(result) for result in results)
    await asyncio.to_thread(server.start_again)
    await database.write(answered("after"))
    assert await database.read(steps) == ["after"]
    assert await asyncio.gather(*(database.find(steps) for _ in range(8))) == [["after"]] * 8


async def test_a_connection_that_breaks_before_the_commit_is_made_anew_and_all_are_tried_again(
    database: Database,
) -> None:
    tries: list[int] = []

    def breaks_once(connection: Connection) -> None:
        tries.append(1)
        if len(tries) == 1:
            hang_up(connection)

    await asyncio.gather(
        *(database.write(answered(f"{number}")) for number in range(5)),
        database.write(breaks_once),
        *(database.write(answered(f"{number}")) for number in range(5, 10)),
    )
    assert len(tries) == 2
    assert len(await database.read(steps)) == 10


async def test_a_commit_without_an_answer_is_in_doubt_for_all_and_not_tried_again(database: Database) -> None:
    await database.write(_hang_up_at_commit)
    runs: list[int] = []

    def counted(number: int) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            runs.append(number)
            answered(f"{number}")(connection)

        return work

    results = await asyncio.gather(*(database.write(counted(number)) for number in range(10)), return_exceptions=True)
    assert {type(result) for result in results} == {DatabaseUnavailable}
    assert sorted(runs) == list(range(10))
    await database.write(lambda connection: connection.execute(text("DROP TRIGGER hang_up ON step_answers")).close())
    await database.write(answered("after"))
    assert await database.read(steps) == ["after"]


async def test_who_was_stopped_in_a_transaction_begins_it_anew(server: PostgresServer, database: Database) -> None:
    tries: list[str] = []

    def paused_once(connection: Connection) -> list[str]:
        tries.append("")
        if len(tries) % 2:
            pause(server, connection)
        return steps(connection)

    await asyncio.gather(*(database.write(answered(f"{number}")) for number in range(5)), database.write(paused_once))
    assert len(await database.read(paused_once)) == 5
    assert len(tries) == 4


async def test_who_was_stopped_before_the_commit_is_told_that_the_database_was_away(
    server: PostgresServer, database: Database
) -> None:
    results = await asyncio.gather(
        database.write(answered("1")),
        database.write(lambda connection: pause(server, connection)),
        database.read(lambda connection: pause(server, connection)),
        return_exceptions=True,
    )
    assert {type(result) for result in results} <= {DatabaseUnavailable, type(None)}, results
    assert isinstance(results[1], DatabaseUnavailable)
    await database.write(answered("after"))
    assert "after" in await database.read(steps)


def _hang_up_at_commit(connection: Connection) -> None:
    connection.execute(
        text(
            "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
        )
    )
    connection.execute(
        text(
            "CREATE CONSTRAINT TRIGGER hang_up AFTER INSERT ON step_answers DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION hang_up()"
        )
    )


async def test_a_server_that_hangs_is_not_waited_for_longer_than_the_limit(server: PostgresServer, url: URL) -> None:
    async with Database(url) as patient:
        await patient.write(answered("before"))
    async with impatient(url, 0.5) as database:
        server.freeze()
        try:
            began = time.monotonic()
            results = await asyncio.gather(
                *(database.write(answered(f"{number}")) for number in range(20)),
                *(database.read(steps) for _ in range(10)),
                return_exceptions=True,
            )
            assert time.monotonic() - began < 60
            assert {type(result) for result in results} == {DatabaseUnavailable}
        finally:
            server.thaw()
        await eventually(lambda: _works(database), timeout_seconds=60)


async def test_a_database_whose_server_hangs_can_be_closed(server: PostgresServer, url: URL) -> None:
    async with impatient(url, 0.3) as database:
        write = asyncio.create_task(database.write(lambda connection: connection.execute(text("SELECT pg_sleep(60)"))))
        read = asyncio.create_task(database.read(lambda connection: connection.execute(text("SELECT pg_sleep(60)"))))
        await asyncio.sleep(0)
        write.cancel()
        read.cancel()
        began = time.monotonic()
    assert time.monotonic() - began < 50


async def _works(database: Database) -> bool:
    try:
        await database.write(lambda connection: connection.execute(text("SELECT 1")).close())
        return "before" in await database.read(steps)
    except DatabaseUnavailable:
        return False


async def test_two_that_wait_for_each_other_both_get_there(url: URL) -> None:
    meet = [threading.Event(), threading.Event()]
    async with Database(url) as one, Database(url) as other:
        for step in ("a", "b"):
            await one.write(answered(step, at=0))

        def add(step: str, mine: int) -> Callable[[Connection], None]:
            def work(connection: Connection) -> None:
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                connection.execute(text("UPDATE step_answers SET at = at + 1 WHERE step = :step"), {"step": step})
                meet[mine].set()
                meet[1 - mine].wait(60)  # both hold their first row by then

            return work

        await asyncio.gather(
            one.write(add("a", 0)), one.write(add("b", 0)), other.write(add("b", 1)), other.write(add("a", 1))
        )
        counted = await one.read(lambda connection: connection.execute(select(step_answers.c.at)).scalars().all())
        assert list(counted) == [2, 2]


async def test_a_row_that_somebody_keeps_is_waited_for_only_so_long(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_SESSION", ("SET lock_timeout = '100ms'",))
    async with Database(url) as database:
        await database.write(answered("kept"))
        keeper = create_engine(postgres.check(url))
        with keeper.begin() as connection:
            connection.execute(text("UPDATE step_answers SET at = 2"))
            taken = text("UPDATE step_answers SET at = 3 WHERE step = 'kept'")
            results = await asyncio.gather(
                database.write(answered("one")),
                database.write(lambda connection: connection.execute(taken).close()),
                database.write(answered("two")),
                return_exceptions=True,
            )
        keeper.dispose()
        assert [type(result) for result in results] == [type(None), DatabaseUnavailable, type(None)]
        assert await database.read(steps) == ["kept", "one", "two"]


async def test_an_error_of_ours_is_not_taken_for_one_of_the_database(database: Database) -> None:
    with pytest.raises(ProgrammingError):
        await database.read(lambda connection: connection.execute(text("SELECT nothing")))
    assert await database.read(steps) == []


async def test_a_node_that_is_away_is_passed_over(url: URL) -> None:
    [nobody] = free_ports(1)
    hosts = {"host": "127.0.0.1,127.0.0.1", "port": f"{nobody},{url.port}"}
    async with Database(url.set(host=None, port=None).update_query_dict(hosts)) as database:
        await database.write(answered("one"))
        assert await database.read(steps) == ["one"]


async def test_a_server_that_is_away_at_the_start_is_told() -> None:
    [nobody] = free_ports(1)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="refused") as told:
        async with Database(f"postgresql://u@127.0.0.1:{nobody}/x"):
            pass
    assert "\n" not in str(told.value)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"database": "missing"}, 'database "missing" does not exist'),
        ({"password": "wrong"}, "password authentication failed"),
        ({"username": "nobody"}, "password authentication failed"),
    ],
)
async def test_what_the_operator_has_to_mend_ends_the_start(url: URL, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        async with Database(url.set(**change)):
            pass
    assert PASSWORD not in str(raised.value)
    assert "wrong" not in str(raised.value)


async def test_a_server_that_has_no_room_is_only_away(server: PostgresServer, url: URL) -> None:
    async with asyncio.TaskGroup() as tasks:
        opened = [Database(url) for _ in range(20)]  # of 5 connections each
        opening = [tasks.create_task(_opens(database)) for database in opened]
    try:
        assert {task.result() for task in opening} == {"opened", "database-unavailable"}
    finally:
        for database, task in zip(opened, opening, strict=True):
            if task.result() == "opened":
                await database.__aexit__()
    server.run("postgres", "SELECT 1")


async def _opens(database: Database) -> str:
    try:
        await database.__aenter__()
        return "opened"
    except DatabaseUnavailable as error:
        return error.code


def test_options_in_the_url_count_more_than_ours() -> None:
    query = postgres.check(Database("postgresql://h/d?connect_timeout=60")._url).query
    assert query["connect_timeout"] == "60"
    assert query["application_name"] == "penstock"
    assert "target_session_attrs" not in query
    assert postgres.check(Database("postgresql:///d?host=a,b")._url).query["target_session_attrs"] == "read-write"
