"""Leases among instances, on a real PostgreSQL: whose an upload is, and what a holder may do that was away."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from sqlalchemy import delete, insert, select, text, update

from penstock.blobs.base import BlobUnavailable
from penstock.blobs.local import LocalBlobs
from penstock.clock import SystemClock
from penstock.db import Database, DatabaseUnavailable
from penstock.db.tables import instances, upload_leases, uploads
from penstock.errors import NotFound, Unavailable
from penstock.ids import new_upload_id
from penstock.testing import ManualClock, eventually
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.errors import Interrupted, Locked, WrongOffset
from penstock.uploads.locking.fencing import BlobFences
from penstock.uploads.locking.leading import lead
from penstock.uploads.locking.leases import Lease, LeaseLost, Leases, Taken, Wanted, new_token
from penstock.uploads.locking.shared_locks import SharedLocks
from penstock.uploads.upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from sqlalchemy import URL, Connection

    from tests.servers.postgres import PostgresServer
    from tests.unit.conftest import LetPass

LONG = timedelta(seconds=60)
SHORT = timedelta(milliseconds=400)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> URL:
    return postgres.url(postgres.new_database())


@pytest.fixture
async def database(url: URL) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        yield opened


async def some_upload(database: Database) -> str:
    upload = Upload(id=new_upload_id(), filename="a", size_bytes=10, created_at=ManualClock().now())
    clock = SystemClock()
    await Catalogue(database, Feed(database, clock), clock).add(upload)
    return upload.id


async def taken_by(leases: Leases, upload_id: str, *, ask: bool = True) -> Lease | None:
    found = await leases.take(Wanted(upload_id, new_token(), ask=ask))
    return found if isinstance(found, Lease) else None


async def rows(database: Database, upload_id: str) -> list[tuple[object, ...]]:
    columns = (upload_leases.c.instance, upload_leases.c.writer, upload_leases.c.kept_bytes)
    statement = select(*columns).where(upload_leases.c.upload_id == upload_id)
    found = await database.read(lambda connection: connection.execute(statement).all())
    return [tuple(row) for row in found]


def of_an_instance(database: Database, *, machine: str = "here", lease: timedelta = LONG) -> Leases:
    return Leases(database, machine=machine, lease=lease)


async def test_one_holds_an_upload_and_hears_who_waits(database: Database) -> None:
    upload, first, second = await some_upload(database), of_an_instance(database), of_an_instance(database)
    await first.beat()
    lease = await taken_by(first, upload)
    assert lease is not None
    assert lease.kept_bytes is None
    assert await taken_by(second, upload, ask=False) is None
    assert await first.asked() == []
    assert await taken_by(second, upload) is None
    assert await first.asked() == [(upload, lease.token)]
    assert await first.give_back(lease)
    taken = await taken_by(second, upload)
    assert taken is not None
    assert taken.kept_bytes is None
    assert not await first.give_back(lease)


async def test_what_a_dead_instance_held_may_be_taken_and_it_finds_out(database: Database) -> None:
    upload, second, dead = await some_upload(database), of_an_instance(database), of_an_instance(database)
    await dead.beat()
    lease = await taken_by(dead, upload)
    assert lease is not None
    await dead.writes(lease, 7)
    assert upload not in await second.lapsed()
    long_ago = update(instances).where(instances.c.id == dead.instance).values(alive_until=1)
    await database.write(lambda connection: connection.execute(long_ago).close())
    taken = await taken_by(second, upload)
    assert taken is not None
    assert (taken.writer, taken.kept_bytes) == ("here", 7)
    await dead.beat()
    for late in (dead.confirm(lease), dead.writes(lease, 9), dead.fenced(lease)):
        with pytest.raises(LeaseLost):
            await late
    assert not await dead.give_back(lease)
    third = of_an_instance(database)  # the second never gave a sign of life, and has not fenced the first off
    again = await taken_by(third, upload)
    assert again is not None
    assert (again.writer, again.kept_bytes) == ("here", 7)
    assert upload in await dead.lapsed()
    await third.fenced(again)
    last = await taken_by(dead, upload)
    assert last is not None
    assert last.kept_bytes is None


async def test_an_instance_takes_again_what_it_could_not_give_back(database: Database) -> None:
    upload, own = await some_upload(database), of_an_instance(database)
    await own.beat()
    assert await taken_by(own, upload) is not None
    assert await taken_by(own, upload) is not None


async def test_who_gives_back_what_is_not_fenced_leaves_that_to_the_next(database: Database) -> None:
    upload, second = await some_upload(database), of_an_instance(database)
    dead = of_an_instance(database, lease=SHORT)
    await dead.beat()
    lease = await taken_by(dead, upload)
    assert lease is not None
    await dead.writes(lease, 7)
    taken = await eventually(lambda: taken_by(second, upload))
    assert taken is not None
    assert await second.give_back(taken)
    assert await rows(database, upload) == [("", "here", 7)]
    assert upload in await second.lapsed()
    again = await taken_by(of_an_instance(database), upload)
    assert again is not None
    assert again.kept_bytes == 7
    assert await second.give_back(again.alone)
    assert await rows(database, upload) == []


async def test_of_what_does_not_exist_there_are_no_leases(database: Database) -> None:
    unknown, own = new_upload_id(), of_an_instance(database)
    with pytest.raises(NotFound):
        await taken_by(own, unknown)
    assert await rows(database, unknown) == []
    assert await taken_by(own, "leader") is not None
    forgotten = await some_upload(database)
    assert await taken_by(own, forgotten) is not None  # nor any of what is forgotten, once its holder is dead
    await database.write(
        lambda connection: connection.execute(delete(uploads).where(uploads.c.id == forgotten)).close()
    )
    long_dead = {"id": "long dead", "machine": "here", "alive_until": 0}
    await database.write(lambda connection: connection.execute(insert(instances).values(long_dead)).close())
    await of_an_instance(database).lapsed()
    named = select(instances.c.id).where(instances.c.id == "long dead")
    assert await database.read(lambda connection: connection.execute(named).all()) == []
    assert await rows(database, forgotten) == []
    assert await rows(database, "leader") != []


async def test_instances_on_other_machines_are_known_while_they_live(database: Database) -> None:
    here, there = of_an_instance(database, machine="a"), of_an_instance(database, machine="b")
    await there.beat()
    assert await of_an_instance(database, machine="a").beat()
    await there.end()
    for leases in (here, there):
        await leases.end()


class Instance:
    def __init__(self, catalogue: Catalogue, leases: Leases, locks: SharedLocks, blobs: LocalBlobs) -> None:
        self.catalogue = catalogue
        self.leases = leases
        self.locks = locks
        self.blobs = blobs


@asynccontextmanager
async def instance(
    url: URL, folder: Path, *, lease: timedelta = LONG, machine: str = "here", keep: bool = True
) -> AsyncIterator[Instance]:
    """One process, as far as locks go; without `keep` it is as if it were stopped."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(url))
        blobs = await stack.enter_async_context(LocalBlobs(folder / "blobs", fenced=True))
        heart = await stack.enter_async_context(Database(url, only_writes=True))
        leases = Leases(database, machine=machine, lease=lease, heart=heart)
        clock = SystemClock()
        catalogue = Catalogue(database, Feed(database, clock), clock, guard=leases.guard)
        locks = SharedLocks(leases, BlobFences(catalogue, blobs, machine), clock, LONG)
        await locks.begin()
        if keep:
            keeping = asyncio.create_task(locks.keep())
            stack.push_async_callback(asyncio.wait, {keeping})
            stack.callback(keeping.cancel)
        yield Instance(catalogue, leases, locks, blobs)


async def entered(one: Instance) -> Upload:
    upload = Upload(id=new_upload_id(), filename="a", size_bytes=10, created_at=ManualClock().now())
    await one.blobs.create(upload.id)
    await one.catalogue.add(upload)
    return upload


async def test_a_newcomer_elsewhere_stops_the_holder_and_takes_over(url: URL, tmp_path: Path) -> None:
    async with instance(url, tmp_path) as first, instance(url, tmp_path) as second:
        upload = await entered(first)

        async def holds() -> None:
            async with first.locks.hold(upload.id) as hold, hold.receiving(HOUR):
                await asyncio.sleep(3600)

        async with asyncio.TaskGroup() as group:
            holding = group.create_task(caught(holds()))
            await eventually(lambda: first.locks.holder(upload.id) is not None and upload.id in first.leases.held)
            with pytest.raises(Locked):
                async with second.locks.hold(upload.id, ask=False):
                    pass
            async with second.locks.hold(upload.id):
                assert isinstance(await holding, Interrupted)


async def test_a_holder_elsewhere_is_spared_by_who_could_not_continue(url: URL, tmp_path: Path) -> None:
    async with instance(url, tmp_path) as first, instance(url, tmp_path) as second:
        upload = await entered(first)
        async with first.locks.hold(upload.id, offset=5) as hold:
            assert hold.confirm is not None
            await hold.confirm(5)
            with pytest.raises(WrongOffset, match="stands at 5"):
                async with second.locks.hold(upload.id, offset=4):
                    pass
            assert await first.leases.asked() == []
            waiting = asyncio.create_task(caught(holds_until_stopped(second, upload.id, offset=5)))
            await eventually(lambda: hold.asked)
        waiting.cancel()
        await asyncio.wait([waiting])


async def caught(work: Coroutine[Any, Any, None]) -> BaseException | None:
    try:
        await work
    except Unavailable as error:
        return error
    return None


@pytest.mark.parametrize(("machine", "stands"), [("here", 5), ("there", 3)])
async def test_who_was_away_for_too_long_says_nothing_and_its_bytes_do_not_count(
    url: URL, tmp_path: Path, machine: str, stands: int
) -> None:
    async with instance(url, tmp_path, lease=SHORT, keep=False) as sleeper, instance(url, tmp_path) as second:
        second.locks._fences._machine = machine
        upload = await entered(second)

        async def sleeps() -> None:
            async with sleeper.locks.hold(upload.id) as hold:
                assert hold.confirm is not None
                await hold.confirm(3)
                async with sleeper.blobs.append(upload.id, 0) as out:
                    await out.write(b"abcde")
                async with second.locks.hold(upload.id):
                    assert await second.blobs.length(upload.id) == stands
                complete = msgspec.structs.replace(upload, phase=Phase.PROCESSING, run=1)
                with pytest.raises(LeaseLost):
                    await sleeper.catalogue.change(upload, complete)

        async def sleeps_and_knows_another_offset() -> None:
            async with sleeper.locks.hold(upload.id):
                async with second.locks.hold(upload.id):
                    pass
                raise WrongOffset(sent=0, offset=5)

        for wakes_up in (sleeps, sleeps_and_knows_another_offset):
            with pytest.raises(LeaseLost):
                await wakes_up()


async def test_a_fence_that_fails_is_made_by_whoever_comes_next(
    url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise BlobUnavailable("the disk is full")

    async with instance(url, tmp_path, lease=SHORT, keep=False) as sleeper, instance(url, tmp_path) as second:
        upload = await entered(second)
        with pytest.raises(LeaseLost):  # noqa: PT012  it comes at the end of the hold
            async with sleeper.locks.hold(upload.id) as hold:
                assert hold.confirm is not None
                async with sleeper.blobs.append_confirmed(upload.id, 0, confirm=hold.confirm) as out:
                    with monkeypatch.context() as patched:
                        patched.setattr(second.blobs, "fence", fails)
                        with pytest.raises(BlobUnavailable):
                            async with second.locks.hold(upload.id):
                                pass
                    await eventually(lambda: not second.locks._to_give_back)
                    assert upload.id in await second.locks.lapsed()
                    async with second.locks.hold(upload.id):
                        pass
                    await out.write(b"late")
        assert await second.blobs.length(upload.id) == 0


@pytest.mark.parametrize("remembered", [1, 0])
async def test_a_lease_is_given_back_whose_answer_was_lost(
    url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    monkeypatch.setattr("penstock.uploads.locking.shared_locks._MOST_TO_GIVE_BACK", remembered)
    async with instance(url, tmp_path) as one, instance(url, tmp_path) as other:
        upload = await entered(one)
        take = one.leases.take

        async def takes_and_hears_nothing(wanted: Wanted, *, dead: int | None) -> None:
            assert isinstance(await take(wanted, dead=dead), Lease)
            raise DatabaseUnavailable("no answer within the limit")

        monkeypatch.setattr(one.leases, "take", takes_and_hears_nothing)
        with pytest.raises(DatabaseUnavailable):
            async with one.locks.hold(upload.id):
                pass
        monkeypatch.setattr("penstock.uploads.locking.shared_locks._MOST_TO_GIVE_BACK", 1)
        async with other.locks.hold(upload.id):
            pass


async def test_no_lease_outlives_its_holder_though_the_clock_of_the_database_was_set_back(
    url: URL, tmp_path: Path
) -> None:
    async with (
        instance(url, tmp_path, lease=timedelta(hours=1), keep=False) as dead,
        instance(url, tmp_path, lease=SHORT) as other,
    ):
        upload = await entered(other)
        assert await taken_by(dead.leases, upload.id) is not None
        async with other.locks.hold(upload.id):
            pass


@pytest.mark.parametrize("ask", [False, True])
async def test_nor_where_each_who_comes_goes_away_before_it_is_certain(url: URL, tmp_path: Path, ask: bool) -> None:
    async with (
        instance(url, tmp_path, lease=timedelta(hours=1), keep=False) as dead,
        instance(url, tmp_path, lease=SHORT) as other,
    ):
        other.locks._takeover = timedelta()
        upload = await entered(other)
        assert await taken_by(dead.leases, upload.id) is not None

        async def holds() -> bool:
            with suppress(Locked):
                async with other.locks.hold(upload.id, ask=ask):
                    return True
            return False

        assert not await holds()
        await eventually(holds)


async def test_who_does_not_wait_asks_for_what_the_dead_have_once_more_and_not_again(
    url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    believed_dead: list[int | None] = []

    async def taken(wanted: Wanted, *, dead: int | None) -> Taken:
        believed_dead.append(dead)
        return Taken(7)

    async with instance(url, tmp_path, keep=False) as one:
        monkeypatch.setattr(one.leases, "take", taken)
        for silence_seconds in (LONG.total_seconds(), -1):
            one.locks._last_words._silence_seconds = silence_seconds
            with pytest.raises(Locked):
                async with one.locks.hold("leader", ask=False):
                    pass
    assert believed_dead == [None, None, 7]


async def test_what_the_dead_have_left_is_found_where_nobody_comes_for_it(url: URL, tmp_path: Path) -> None:
    """Though the database's clock was set back by an hour, so that their last words hold for as long."""
    async with instance(url, tmp_path, lease=HOUR, keep=False) as dead, instance(url, tmp_path) as other:
        upload = await entered(other)
        assert await taken_by(dead.leases, upload.id) is not None
        assert upload.id not in await other.locks.lapsed()
        assert upload.id not in await other.locks.lapsed()
        other.locks._signs_of_life._silence_seconds = -1
        assert upload.id in await other.locks.lapsed()
        await dead.leases.beat()
        assert upload.id not in await other.locks.lapsed()


async def test_a_clock_that_is_set_forward_leaves_one_holder(url: URL, database: Database, tmp_path: Path) -> None:
    """Everybody's last words are over then, until they say something again."""
    over = update(instances).values(alive_until=instances.c.alive_until - int(HOUR.total_seconds() * 1_000_000))
    async with instance(url, tmp_path) as first, instance(url, tmp_path) as second:
        upload = await entered(first)
        with pytest.raises(LeaseLost):  # noqa: PT012  it comes at the end of the hold
            async with first.locks.hold(upload.id) as hold:
                assert hold.confirm is not None
                async with first.blobs.append_confirmed(upload.id, 0, confirm=hold.confirm) as out:
                    await out.write(b"abc")
                async with first.blobs.append_confirmed(upload.id, 3, confirm=hold.confirm) as out:
                    await database.write(lambda connection: connection.execute(over).rowcount)
                    async with second.locks.hold(upload.id):
                        for living in (first, second):
                            await living.leases.beat()
                        await out.write(b"late")
                        complete = msgspec.structs.replace(upload, phase=Phase.PROCESSING, run=1)
                        with pytest.raises(LeaseLost):
                            await first.catalogue.change(upload, complete)
        async with first.locks.hold(upload.id):
            assert await first.blobs.length(upload.id) == 3


async def test_signs_of_life_wait_for_no_disk(url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with instance(url, tmp_path, lease=SHORT) as one, instance(url, tmp_path, machine="far"):
        upload = await entered(one)
        beats = beats_of(one, monkeypatch)
        stuck = asyncio.Event()

        async def never(upload_id: str) -> int:
            stuck.set()
            await asyncio.sleep(3600)
            return len(upload_id)

        monkeypatch.setattr(one.blobs, "flushed", never)
        async with one.locks.hold(upload.id) as hold:
            assert hold.confirm is not None
            await hold.confirm(0)
            await stuck.wait()
            begun = len(beats)
            await eventually(lambda: len(beats) > begun + 4)


async def test_signs_of_life_wait_for_no_row(url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, done = threading.Event(), threading.Event()

    async with instance(url, tmp_path) as one, instance(url, tmp_path, lease=SHORT) as other, Database(url) as database:
        upload = await entered(one)
        beats = beats_of(other, monkeypatch)
        async with one.locks.hold(upload.id):

            def stop_with_it_in_hand(connection: Connection) -> None:
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                connection.execute(
                    select(upload_leases).where(upload_leases.c.upload_id == upload.id).with_for_update()
                )
                locked.set()
                done.wait(60)

            stopping = asyncio.create_task(database.write(stop_with_it_in_hand))
            await eventually(locked.is_set)
            waiting = asyncio.create_task(caught(holds_until_stopped(other, upload.id)))
            begun = len(beats)
            try:
                await eventually(lambda: len(beats) > begun + 4)
            finally:
                done.set()
            await stopping
            waiting.cancel()
            await asyncio.wait([waiting])


def beats_of(one: Instance, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return the list to which each sign of life is added that was heard."""
    beats, beat = list[bool](), one.leases.beat

    async def counted() -> bool:
        elsewhere = await beat()
        beats.append(elsewhere)
        return elsewhere

    monkeypatch.setattr(one.leases, "beat", counted)
    return beats


async def test_only_the_holder_puts_an_upload_into_processing(url: URL, tmp_path: Path) -> None:
    async with instance(url, tmp_path) as one:
        upload = await entered(one)
        complete = msgspec.structs.replace(upload, phase=Phase.PROCESSING, run=1)
        with pytest.raises(Interrupted):
            await one.catalogue.change(upload, complete)
        async with one.locks.hold(upload.id):
            assert await one.catalogue.change(upload, complete)


async def test_what_is_written_is_published_while_there_are_other_machines(url: URL, tmp_path: Path) -> None:
    async with instance(url, tmp_path, lease=SHORT) as one, instance(url, tmp_path, machine="far"):
        upload = await entered(one)
        async with one.locks.hold(upload.id) as hold:
            assert hold.confirm is not None
            async with one.blobs.append_confirmed(upload.id, 0, confirm=hold.confirm) as out:
                await out.write(b"x" * 2_000_000)
                await out.write(b"x")

                async def published() -> bool:
                    async with Database(url) as database:
                        rows = await database.read(
                            lambda c: c.exec_driver_sql("SELECT upload_id, kept_bytes FROM upload_leases").all()
                        )
                    return (upload.id, 2_000_000) in [tuple(row) for row in rows]

                await eventually(published, timeout_seconds=60)


async def test_without_the_database_holders_stop_and_newcomers_are_told(
    postgres: PostgresServer, url: URL, tmp_path: Path, let_pass: LetPass
) -> None:
    async with instance(url, tmp_path) as one, instance(url, tmp_path) as other:
        upload = await entered(one)
        holding = asyncio.create_task(caught(holds_until_stopped(one, upload.id)))
        await eventually(lambda: upload.id in one.leases.held)
        postgres.stop()
        try:
            with pytest.raises(DatabaseUnavailable):
                async with other.locks.hold(new_upload_id()):
                    pass
            let_pass(2 * LONG.total_seconds())
            assert isinstance(await holding, DatabaseUnavailable)
        finally:
            postgres.start_again()
        async with other.locks.hold(upload.id):  # the first gives it back by itself
            pass


async def holds_until_stopped(one: Instance, upload_id: str, offset: int | None = None) -> None:
    async with one.locks.hold(upload_id, offset=offset) as hold, hold.receiving(HOUR):
        await asyncio.sleep(3600)


async def test_one_leads_and_another_one_once_that_one_is_gone(url: URL, tmp_path: Path) -> None:
    leading: list[str] = []

    def work(name: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def forever() -> None:
            leading.append(name)
            try:
                await asyncio.sleep(3600)
            finally:
                leading.remove(name)

        return forever

    async with instance(url, tmp_path) as second:
        async with instance(url, tmp_path) as first:
            tasks = [asyncio.create_task(lead([work("first")], first.locks, SystemClock()))]
            await eventually(lambda: leading == ["first"])
            tasks.append(asyncio.create_task(lead([work("second")], second.locks, SystemClock())))
            lease = first.leases.held["leader"]
            assert await first.leases.give_back(lease)  # as if it had lapsed
            await eventually(lambda: leading == ["second"], timeout_seconds=60)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
