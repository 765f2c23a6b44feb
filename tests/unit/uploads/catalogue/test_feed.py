"""The feed: whoever reads, however slowly and however often interrupted, gets each entry once and in order."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import structlog

from penstock.db import Database, DatabaseUnavailable
from penstock.testing import ManualClock, eventually
from penstock.uploads.catalogue import feed as feed_module
from penstock.uploads.catalogue import journal
from penstock.uploads.catalogue.feed import Feed, News
from penstock.uploads.catalogue.journal import Details, Happening, Kind
from penstock.uploads.upload import Phase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def feed(database: Database, clock: ManualClock) -> AsyncIterator[Feed]:
    async with Feed(database, clock) as feed:
        yield feed


class Writer:
    """Writes numbered entries, as the catalogue does."""

    def __init__(self, database: Database, feed: Feed) -> None:
        self.database = database
        self.feed = feed
        self.written = 0

    async def write(self, number: int = 1, upload_id: str = "a", at: datetime = NOW) -> None:
        keys = [str(self.written + n) for n in range(number)]
        self.written += number
        happenings = [
            Happening(key=key, upload_id=upload_id, at=at, kind=Kind.CREATED, details=Details()) for key in keys
        ]
        said = [(happening, Phase.RECEIVING) for happening in happenings]
        await self.database.write(lambda connection: journal.append(connection, said))
        self.feed.wake()


@pytest.fixture
def writer(database: Database, feed: Feed) -> Writer:
    return Writer(database, feed)


class Reader:
    """Reads as the event stream does: subscribe, read, wait, read."""

    def __init__(self, feed: Feed, *, after: int = 0, upload_id: str | None = None) -> None:
        self.feed = feed
        self.after = after
        self.upload_id = upload_id
        self.seen: list[int] = []
        self.waits = False
        """Whether it has read all and waits for more."""

    async def read_all(self, limit: int = 50) -> None:
        while entries := await self.feed.since(self.after, upload=self.upload_id, limit=limit):
            self.seen += [entry.seq for entry in entries]
            self.after = entries[-1].seq

    async def follow(self, limit: int = 50) -> None:
        with self.feed.subscribe(self.upload_id) as news:
            while True:
                await self.read_all(limit)
                self.waits = True
                await news.wait()
                self.waits = False


async def test_what_is_written_reaches_those_who_wait(feed: Feed, writer: Writer) -> None:
    await writer.write(3)
    reader = Reader(feed)
    task = asyncio.create_task(reader.follow())
    await eventually(lambda: reader.seen == [1, 2, 3])
    await writer.write()
    await eventually(lambda: reader.seen == [1, 2, 3, 4])
    task.cancel()


async def test_what_another_process_writes_reaches_those_who_wait(database: Database, clock: ManualClock) -> None:
    async with Feed(database, clock, poll=timedelta(milliseconds=10)) as feed, Feed(database, clock) as elsewhere:
        writer, reader = Writer(database, elsewhere), Reader(feed)
        await writer.write()
        task = asyncio.create_task(reader.follow())
        await eventually(lambda: reader.seen == [1])
        await writer.write(2)
        await eventually(lambda: reader.seen == [1, 2, 3])
        task.cancel()


async def test_nobody_is_told_of_others_uploads(feed: Feed, writer: Writer) -> None:
    with feed.subscribe("a") as mine, feed.subscribe() as all_of_them:
        await eventually(lambda: _told(mine))  # of the beginning
        await eventually(lambda: _told(all_of_them))
        await writer.write(upload_id="b")
        await eventually(lambda: _told(all_of_them))
        assert not _told(mine)
        assert await feed.since(0, upload="a", limit=10) == []
        await writer.write(upload_id="a")
        await eventually(lambda: _told(mine))
        assert [entry.seq for entry in await feed.since(0, upload="a", limit=10)] == [2]


def _told(news: News) -> bool:
    """Take the news, if there are any."""
    told = news._something.is_set()
    news._something.clear()
    return told


async def test_readers_that_come_and_go_miss_nothing_and_see_nothing_twice(feed: Feed, writer: Writer) -> None:
    """Like clients behind a proxy that cuts every connection after a while."""
    chance = random.Random(7)

    async def write() -> None:
        for n in range(400):
            await writer.write(chance.randint(1, 3), upload_id="ab"[n % 2])
            if n % 10 == 0:
                await asyncio.sleep(0.001)

    async def read(reader: Reader) -> None:
        longest_seconds = 0.01
        while True:
            task = asyncio.create_task(reader.follow(limit=chance.randint(1, 40)))
            await asyncio.wait([task], timeout=chance.uniform(0, longest_seconds))
            longest_seconds *= 1.01  # on a slow machine nothing might be read in a time that is always short
            task.cancel()
            await asyncio.wait([task])

    readers = [Reader(feed), Reader(feed, upload_id="a"), Reader(feed, upload_id="b"), Reader(feed)]
    tasks = [asyncio.create_task(read(reader)) for reader in readers]
    await write()
    last = await feed.last()
    await eventually(lambda: all(reader.seen[-1:] == [last] for reader in (readers[0], readers[3])))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    everything = list(range(1, writer.written + 1))
    assert readers[0].seen == readers[3].seen == everything
    for reader in readers[1:3]:
        await reader.read_all()
    assert readers[1].seen != []
    assert sorted(readers[1].seen + readers[2].seen) == everything


async def test_a_reader_that_sleeps_costs_no_memory_and_catches_up(
    feed: Feed, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_AT_HAND", 100)
    sleeper, awake = Reader(feed), Reader(feed)
    task = asyncio.create_task(awake.follow())
    with feed.subscribe():
        for _ in range(30):
            await writer.write(40)
        await eventually(lambda: len(awake.seen) == 1200)
        assert len(feed._latest) == 100
        await sleeper.read_all()
        assert sleeper.seen == awake.seen == list(range(1, 1201))
    task.cancel()


async def test_the_latest_entries_are_read_from_the_database_once_for_all(
    feed: Feed, writer: Writer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = [Reader(feed) for _ in range(50)]
    tasks = [asyncio.create_task(reader.follow()) for reader in readers]
    await writer.write()
    await eventually(lambda: all(reader.seen == [1] for reader in readers))
    # Until it is known which entries are at hand, each reader asks the table by itself.
    await eventually(lambda: feed._complete_after is not None)
    reads = []
    read = Database.read

    async def counted(self: Database, work: object) -> object:
        reads.append(work)
        return await read(self, work)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "read", counted)
    await writer.write(10)
    await eventually(lambda: all(len(reader.seen) == 11 for reader in readers))
    assert len(reads) <= 3
    for task in tasks:
        task.cancel()


async def test_with_the_last_reader_goes_what_was_kept_for_it(feed: Feed, writer: Writer) -> None:
    with feed.subscribe():
        await writer.write(5)
        await eventually(lambda: len(feed._latest) > 0 or feed._complete_after == 5)
    await eventually(lambda: feed._complete_after is None)
    assert len(feed._latest) == 0
    await writer.write(2)
    assert [entry.seq for entry in await feed.since(4, limit=10)] == [5, 6, 7]


async def test_a_database_that_is_away_is_asked_again(
    feed: Feed, writer: Writer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(feed)
    task = asyncio.create_task(reader.follow())
    await writer.write()
    # Otherwise the reader asks the database itself.
    await eventually(lambda: reader.seen == [1] and reader.waits and feed._complete_after is not None)
    real, failures = journal.since, list[int]()

    def broken(*arguments: object, **named: object) -> object:
        failures.append(1)
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(journal, "since", broken)
        await writer.write()
        await eventually(lambda: clock.sleepers == 1)
    assert journal.since is real
    assert {log["event"] for log in logs} == {"feed_cannot_be_read"}
    await clock.advance(timedelta(seconds=1))
    await eventually(lambda: reader.seen == [1, 2])
    task.cancel()


async def test_a_trimmed_feed_goes_on_with_what_is_left(database: Database, clock: ManualClock) -> None:
    async with Feed(database, clock, keep_entries=100, keep_for=timedelta(days=1)) as feed:
        writer = Writer(database, feed)
        await writer.write(5000)
        assert await feed.trim() == 4900
        assert await feed.trim() == 0
        assert [entry.seq for entry in await feed.since(0, limit=2)] == [4901, 4902]
        clock.jump(timedelta(hours=20))
        await writer.write(1, at=clock.now())
        clock.jump(timedelta(hours=5))
        assert await feed.trim() == 100
        assert [entry.seq for entry in await feed.since(4950, limit=10)] == [5001]
        assert await feed.last() == 5001


async def test_the_last_entry_is_known_of_all_and_of_each_upload(feed: Feed, writer: Writer) -> None:
    await writer.write(3, upload_id="a")
    await writer.write(2, upload_id="b")
    assert [await feed.last(upload=upload_id) for upload_id in (None, "a", "b", "c")] == [5, 3, 5, 0]


async def test_an_empty_feed_has_no_last_entry(feed: Feed) -> None:
    assert await feed.last() == 0
    assert await feed.since(0, limit=10) == []
