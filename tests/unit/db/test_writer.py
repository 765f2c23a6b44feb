"""The thread that writes: what shares a commit, and what an error of the commit itself does."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.exc import IntegrityError, OperationalError

from penstock.db import sqlite
from penstock.db.writer import Job, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PARENT = "CREATE TABLE parent (id INTEGER PRIMARY KEY)"
CHILD = "CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = sqlite.writer_engine(make_url(f"sqlite:///{tmp_path}/test.db"))
    event.listen(engine, "connect", lambda raw, record: raw.execute("PRAGMA foreign_keys = ON"))
    with engine.begin() as connection:
        connection.execute(text(PARENT))
        connection.execute(text(CHILD))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def run(connection: Connection, *works: Callable[[Connection], Any]) -> list[list[Job]]:
    """Run all works, queued before the thread begins, and return what was handed back together."""
    loop = asyncio.new_event_loop()
    done: list[list[Job]] = []
    writer = Writer(connection, done.append)
    for work in works:
        writer.submit(Job(work, loop.create_future()))
    writer.start()
    writer.stop()
    loop.close()
    return done


def parent(number: int) -> Callable[[Connection], Any]:
    return lambda connection: connection.execute(text("INSERT INTO parent VALUES (:id)"), {"id": number}).close()


def orphan(connection: Connection) -> None:
    connection.execute(text("INSERT INTO child VALUES (-1)"))


def parents(connection: Connection) -> list[int]:
    with connection.begin():
        return list(connection.execute(text("SELECT id FROM parent ORDER BY id")).scalars())


def test_what_waits_is_one_transaction_up_to_a_bound(connection: Connection) -> None:
    commits: list[int] = []
    event.listen(connection, "commit", lambda _: commits.append(1))
    done = run(connection, *(parent(n) for n in range(600)))
    assert [len(batch) for batch in done] == [256, 256, 88]
    assert len(commits) == 3
    assert parents(connection) == list(range(600))


def test_who_makes_the_commit_itself_fail_fails_alone(connection: Connection) -> None:
    [batch] = run(connection, parent(1), orphan, parent(2), parent(3))
    assert [type(job.error) for job in batch] == [type(None), IntegrityError, type(None), type(None)]
    assert parents(connection) == [1, 2, 3]


def test_when_the_database_is_to_blame_each_is_tried_once_more(connection: Connection) -> None:
    tried: list[int] = []

    def broken(number: int) -> Callable[[Connection], Any]:
        def work(connection: Connection) -> None:
            tried.append(number)
            connection.execute(text("INSERT INTO missing VALUES (1)"))

        return work

    [batch] = run(connection, parent(1), *(broken(n) for n in range(50)))
    assert batch[0].error is None
    assert all(isinstance(job.error, OperationalError) for job in batch[1:])
    assert len(tried) == 51
    assert parents(connection) == [1]


def test_an_error_of_any_kind_leaves_the_thread_alive(connection: Connection) -> None:
    def leave(connection: Connection) -> None:
        raise SystemExit(3)

    [batch] = run(connection, leave, parent(1))
    assert isinstance(batch[0].error, SystemExit)
    assert parents(connection) == [1]


def test_the_thread_ends_when_told(connection: Connection) -> None:
    run(connection, parent(1))
    assert not [thread for thread in threading.enumerate() if thread.name == "penstock-writer"]


def test_a_thread_that_finds_nobody_at_it_commits_by_itself(connection: Connection) -> None:
    loop = asyncio.new_event_loop()
    done: list[tuple[list[Job], str]] = []
    writer = Writer(connection, lambda jobs: done.append((jobs, threading.current_thread().name)))
    jobs = [Job(parent(number), loop.create_future()) for number in range(2)]
    writer.submit(jobs[0])
    thread = threading.Thread(target=writer.settle, args=(jobs[1],), name="other")
    thread.start()
    thread.join()
    assert done == [(jobs, "other")]
    writer.start()
    writer.stop()
    assert done == [(jobs, "other")]
    assert parents(connection) == [0, 1]
    loop.close()


def test_who_is_at_it_is_left_what_comes_meanwhile(connection: Connection) -> None:
    loop = asyncio.new_event_loop()
    done: list[tuple[list[Job], str]] = []
    writer = Writer(connection, lambda jobs: done.append((jobs, threading.current_thread().name)))
    later = [Job(parent(number), loop.create_future()) for number in (2, 3)]

    def slow(connection: Connection) -> None:
        for job in later:  # each in a thread of its own, which need not wait
            thread = threading.Thread(target=writer.settle, args=(job,))
            thread.start()
            thread.join(60)
            assert not thread.is_alive()

    first = Job(slow, loop.create_future())
    writer.settle(first)
    assert done == [([first], threading.current_thread().name)]
    writer.start()
    writer.stop()
    assert done[1:] == [(later, "penstock-writer")]
    assert parents(connection) == [2, 3]
    loop.close()
