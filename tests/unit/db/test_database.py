"""The database: what a finished write means, what a failed one leaves behind, and who sees what when."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from penstock.db import Database, DatabaseUnavailable
from penstock.db.tables import step_answers
from penstock.errors import ConfigurationError
from penstock.threads import to_the_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path}/test.db") as database:
        yield database


def answered(step: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute(insert(step_answers).values(step=step, at=1))

    return work


def steps(connection: Connection) -> list[str]:
    return sorted(connection.execute(select(step_answers.c.step)).scalars())


def refused(connection: Connection) -> None:
    answered("half")(connection)
    raise LookupError("on purpose")


async def test_what_was_written_is_there_for_readers(database: Database) -> None:
    await database.write(answered("one"))
    assert await database.read(steps) == ["one"]
    assert database.lookup(steps) == ["one"]


async def test_a_write_returns_what_its_work_returns(database: Database) -> None:
    assert await database.write(lambda connection: connection.execute(text("SELECT 7")).scalar()) == 7


async def test_an_error_reaches_its_caller_and_nothing_of_the_write_is_kept(database: Database) -> None:
    with pytest.raises(LookupError, match="on purpose"):
        await database.write(refused)
    assert await database.read(steps) == []


async def test_the_others_of_a_batch_do_not_notice_one_that_fails(database: Database) -> None:
    gate = threading.Event()
    blocked = asyncio.create_task(database.write(lambda connection: gate.wait(60)))  # the rest becomes one batch
    await asyncio.sleep(0)
    writes = [asyncio.create_task(database.write(answered(f"step {n:03}"))) for n in range(100)]
    failing = [asyncio.create_task(database.write(refused)) for _ in range(3)]
    twice = asyncio.create_task(database.write(answered("step 050")))
    later = [asyncio.create_task(database.write(answered(f"step {n:03}"))) for n in range(100, 200)]
    await asyncio.sleep(0)
    gate.set()
    assert await blocked
    await asyncio.gather(*writes, *later)
    for task in failing:
        with pytest.raises(LookupError):
            await task
    with pytest.raises(IntegrityError):
        await twice
    assert await database.read(steps) == [f"step {n:03}" for n in range(200)]


async def test_writes_that_wait_share_a_commit(database: Database) -> None:
    gate = threading.Event()
    commits: list[int] = []

    def tells_transaction(connection: Connection) -> int:
        return int(connection.execute(text("SELECT count(*) FROM step_answers")).scalar_one())

    blocked = asyncio.create_task(database.write(lambda connection: gate.wait(60)))
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(database.write(answered(f"{n}"))) for n in range(50)]
    seen = asyncio.create_task(database.read(tells_transaction))
    await asyncio.sleep(0)
    gate.set()
    while not all(task.done() for task in tasks):
        commits.append(await database.read(tells_transaction))
    await blocked
    assert await seen in (0, 50)
    assert set(commits) <= {0, 50}, "a reader saw a part of the batch"


async def test_writes_take_effect_in_the_order_in_which_they_were_asked_for(database: Database) -> None:
    order: list[int] = []
    await asyncio.gather(*(database.write(lambda _, n=n: order.append(n)) for n in range(500)))  # type: ignore[misc]
    assert order == list(range(500))


async def test_a_thread_that_has_done_what_comes_first_goes_on_with_the_write(database: Database) -> None:
    threads: list[str] = []

    async def first(then: Callable[[], None]) -> None:
        def deed() -> None:
            threading.current_thread().name = "deed"
            assert database.lookup(steps) == []
            then()

        await asyncio.to_thread(deed)

    def work(connection: Connection) -> None:
        threads.append(threading.current_thread().name)
        answered("one")(connection)

    await database.write(work, first=first)
    assert threads == ["deed"]
    assert await database.read(steps) == ["one"]


async def test_nothing_is_written_after_what_has_failed(database: Database) -> None:
    async def fails(then: Callable[[], None]) -> None:
        raise LookupError("on purpose")

    async def forgets(then: Callable[[], None]) -> None:
        pass

    room = database._room._value
    with pytest.raises(LookupError, match="on purpose"):
        await database.write(answered("one"), first=fails)
    with pytest.raises(RuntimeError, match="without going on"):
        await database.write(answered("one"), first=forgets)
    await database.write(answered("two"))
    assert await database.read(steps) == ["two"]
    assert database._room._value == room


async def test_who_is_cancelled_while_the_first_thing_is_done_leaves_no_room_taken(database: Database) -> None:
    room, begun, may_end = database._room._value, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    async def first(then: Callable[[], None]) -> None:
        def deed() -> None:
            loop.call_soon_threadsafe(begun.set)
            assert may_end.wait(60)
            then()

        await to_the_end(asyncio.ensure_future(asyncio.to_thread(deed)))

    writing = asyncio.create_task(database.write(answered("one"), first=first))
    await begun.wait()
    writing.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await database.write(answered("two"))
    assert await database.read(steps) == ["one", "two"]
    assert database._room._value == room


async def test_one_that_only_writes_finds_nothing(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/test.db", only_writes=True) as database:
        await database.write(answered("a"))
        assert await database.write(steps) == ["a"]
        for reading in (database.read, database.find):
            with pytest.raises(DatabaseUnavailable):
                await reading(steps)


async def test_a_reader_sees_one_unchanging_state(database: Database) -> None:
    await database.write(answered("before"))
    loop = asyncio.get_running_loop()

    def look_twice(connection: Connection) -> tuple[list[str], list[str]]:
        first = steps(connection)
        asyncio.run_coroutine_threadsafe(database.write(answered("meanwhile")), loop).result(60)
        return first, steps(connection)

    assert await database.read(look_twice) == (["before"], ["before"])
    assert database.lookup(steps) == ["before", "meanwhile"]


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        await database.read(answered("sneaked in"))
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        database.lookup(answered("sneaked in"))


async def test_a_cancelled_caller_stops_nobody_else(database: Database) -> None:
    gate = threading.Event()
    cancelled = asyncio.create_task(database.write(lambda connection: gate.wait(60)))
    await asyncio.sleep(0)
    follower = asyncio.create_task(database.write(answered("after")))
    await asyncio.sleep(0)
    cancelled.cancel()
    gate.set()
    await follower
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await database.read(steps) == ["after"]


async def test_closing_finishes_what_was_asked_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    async with Database(url) as database:
        tasks = [asyncio.create_task(database.write(answered(f"{n:02}"))) for n in range(20)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert os.listdir(tmp_path) == ["test.db"], "the log was not folded into the file"
    async with Database(url) as database:
        assert len(await database.read(steps)) == 20


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/test.db")
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match="not open"):
            await database.write(answered("early"))
        with pytest.raises(DatabaseUnavailable, match="not open"):
            await database.read(steps)
        with pytest.raises(DatabaseUnavailable, match="not open"):
            database.lookup(steps)
        async with database:
            pass


async def test_more_writes_than_fit_the_queue_wait(database: Database) -> None:
    await asyncio.gather(*(database.write(lambda connection: None) for _ in range(10_500)))


async def test_a_full_disk_is_told_and_keeps_nothing_half_done(database: Database) -> None:
    await database.write(lambda connection: connection.execute(text("PRAGMA max_page_count = 40")).all())

    def too_much(connection: Connection) -> None:
        for n in range(1000):
            connection.execute(insert(step_answers).values(step=f"{n}" * 500, at=n))

    with pytest.raises(DatabaseUnavailable, match="full") as caught:
        await database.write(too_much)
    assert caught.value.retryable
    await database.write(answered("small"))
    assert await database.read(steps) == ["small"]


async def test_commits_are_flushed_to_disk(database: Database) -> None:
    def pragmas(connection: Connection) -> tuple[object, object]:
        return (
            connection.execute(text("PRAGMA journal_mode")).scalar(),
            connection.execute(text("PRAGMA synchronous")).scalar(),
        )

    assert await database.write(pragmas) == ("wal", 2)


WRITES_FOR_EVER = """
import asyncio, sys
from sqlalchemy import insert
from penstock.db import Database
from penstock.db.tables import step_answers

async def main():
    async with Database(sys.argv[1]) as database:
        n = 0
        while True:
            await database.write(lambda c: c.execute(insert(step_answers).values(step=f"{n:06}", at=n)).close())
            print(f"{n:06}", flush=True)
            n += 1

asyncio.run(main())
"""


async def test_a_finished_write_survives_kill_9(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITES_FOR_EVER, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = [(await process.stdout.readline()).decode().strip() for _ in range(50)]
    process.kill()
    told += (await process.stdout.read()).decode().split()
    assert await process.wait() == -signal.SIGKILL
    async with Database(url) as database:
        kept = await database.read(steps)
    assert kept[: len(told)] == told
    assert len(kept) <= len(told) + 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "not a URL"),
        ("mysql://localhost/x", "not supported"),
        ("postgresql://localhost:5x/x", "not a URL"),
        ("postgresql://localhost", "names no database"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_url_that_cannot_be_is_refused_at_once(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Database(url)


@pytest.mark.parametrize("url", ["mysql://me:hunter2@localhost/x", "postgresql://me:hunter2@localhost:port/x"])
def test_a_password_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(Database("postgresql://me:hunter2@localhost/x"))


async def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with Database(f"sqlite:///{tmp_path}/missing/test.db"):
            pass
    assert str(caught.value) == (
        f"database sqlite:///{tmp_path}/missing/test.db: cannot be opened: unable to open database file. "
        "Check that the folder exists and may be written."
    )


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.db").write_text("this is a letter to a friend" * 100)
    with pytest.raises(ConfigurationError, match="file is not a database"):
        async with Database(f"sqlite:///{tmp_path}/test.db"):
            pass


async def test_another_process_may_write_in_between(database: Database, tmp_path: Path) -> None:
    await database.write(answered("ours"))
    with sqlite3.connect(tmp_path / "test.db") as other:
        other.execute("INSERT INTO step_answers VALUES ('theirs', 1)")
    other.close()
    await database.write(answered("ours again"))
    assert await database.read(steps) == ["ours", "ours again", "theirs"]
