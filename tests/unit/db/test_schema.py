"""Migrations: from nothing, from older, up to date, and from the future."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, make_url, text

from penstock.db import sqlite
from penstock.db.schema import MIGRATIONS, NewerSchema, _migrate, current_revision, upgrade
from penstock.db.tables import SCHEMA_REVISION, metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = sqlite.writer_engine(make_url(f"sqlite:///{tmp_path}/test.db"))
    yield engine
    engine.dispose()


def migrated(engine: Engine) -> None:
    """Have an empty database get its tables from the migrations, one after the other."""
    with engine.begin() as connection:
        _migrate(connection)


def test_the_migrations_make_the_tables_that_the_code_works_with(engine: Engine) -> None:
    migrated(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_an_empty_database_gets_the_tables_that_the_migrations_make(tmp_path: Path, engine: Engine) -> None:
    """Alembic's comparison does not look at the conditions of indexes, nor at defaults."""
    upgrade(engine, "test.db")
    other = sqlite.writer_engine(make_url(f"sqlite:///{tmp_path}/migrated.db"))
    migrated(other)
    with engine.connect() as new, other.connect() as old:
        assert _indexes(new) == _indexes(old)
        assert _columns(new) == _columns(old)
        assert current_revision(new) == current_revision(old) == SCHEMA_REVISION
    other.dispose()


def _indexes(connection: Connection) -> dict[str, str]:
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql LIKE 'CREATE%INDEX%'"))
    return {name: " ".join(sql.split()) for name, sql in rows}


def _columns(connection: Connection) -> dict[str, set[tuple[object, ...]]]:
    """Return the columns of all tables, each with its type, whether it may be empty, its default and its key."""
    tables = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    return {
        table: {tuple(row)[1:] for row in connection.execute(text(f"PRAGMA table_info({table})"))} for table in tables
    }


def test_the_newest_migration_is_the_one_that_the_code_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_REVISION]


def test_a_database_that_is_up_to_date_is_left_alone(engine: Engine) -> None:
    upgrade(engine, "test.db")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO step_answers VALUES ('virusscan', 1)"))
        changes = connection.execute(text("PRAGMA schema_version")).scalar()
    upgrade(engine, "test.db")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT step FROM step_answers")).scalar() == "virusscan"
        assert connection.execute(text("PRAGMA schema_version")).scalar() == changes


def test_opening_what_is_new_or_up_to_date_does_not_load_the_migration_tool(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    program = (
        "import asyncio, sys\n"
        "from penstock.db import Database\n"
        "async def main():\n"
        f"    async with Database({url!r}): print('alembic' in sys.modules)\n"
        "asyncio.run(main())"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=True) for _ in range(2)]
    assert [run.stdout.strip() for run in runs] == [b"False", b"False"]


def test_a_database_of_a_newer_version_is_refused_and_not_touched(engine: Engine) -> None:
    upgrade(engine, "test.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerSchema) as caught:
        upgrade(engine, "test.db")
    assert str(caught.value) == (
        "test.db was written by a newer version of Penstock (schema 9999; this version knows up to "
        f"{SCHEMA_REVISION}). Start that version again, or restore the backup from before the upgrade."
    )
    with engine.connect() as connection:
        assert current_revision(connection) == "9999"


def test_a_migration_that_fails_leaves_nothing_behind(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE progress (foreign_to_us INTEGER)"))  # in the way of ours
    with pytest.raises(Exception, match="already exists"):
        upgrade(engine, "test.db")
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["progress"]


def test_two_that_open_an_empty_database_at_once_take_turns(tmp_path: Path) -> None:
    engines = [sqlite.writer_engine(make_url(f"sqlite:///{tmp_path}/test.db")) for _ in range(4)]
    errors: list[BaseException] = []

    def run(engine: Engine) -> None:
        try:
            upgrade(engine, "test.db")
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test is to see it
            errors.append(error)

    threads = [threading.Thread(target=run, args=[engine]) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert errors == []


def test_uploads_of_the_first_schema_belong_to_no_trace(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        later = {"trace_parent", "scan_details", "concat", "final_key", "explicit_end"}
        later |= {"owner", "counted_bytes", "counted_in", "path", "precedence", "proviso"}
        columns = {column.name: 0 for column in metadata.tables["uploads"].c if column.name not in later}
        names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        connection.execute(text(f"INSERT INTO uploads ({names}) VALUES ({values})"), columns)  # noqa: S608
    upgrade(engine, "test.db")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT trace_parent FROM uploads")).scalars().all() == [""]
        assert connection.execute(text("SELECT concat, final_key, explicit_end FROM uploads")).all() == [("", "", 0)]
        assert connection.execute(text("SELECT owner, counted_bytes, counted_in FROM uploads")).all() == [("", 0, "")]
        # One of no name, which is the first of its path.
        assert connection.execute(text("SELECT path, precedence, proviso FROM uploads")).all() == [("0", 0, "")]


def test_uploads_that_were_there_before_quotas_count_for_their_size(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    rows = [("receiving", 1), ("receiving", None), ("processing", 2), ("released", 3), ("rejected", 4), ("expired", 5)]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        later = ("owner", "counted_bytes", "counted_in", "path", "precedence", "proviso")
        names = [column.name for column in metadata.tables["uploads"].c if column.name not in later]
        insert = f"INSERT INTO uploads ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"  # noqa: S608
        for number, (phase, size) in enumerate(rows):
            blank = dict.fromkeys(names, 0) | {"seq": number + 1, "id": str(number)}
            connection.execute(text(insert), blank | {"phase": phase, "size_bytes": size})
    upgrade(engine, "test.db")
    with engine.connect() as connection:
        found = connection.execute(text("SELECT phase, counted_bytes FROM uploads ORDER BY seq")).all()
    counted = [1, 0, 2, 3, 0, 0]
    assert found == [(phase, size) for (phase, _), size in zip(rows, counted, strict=True)]
