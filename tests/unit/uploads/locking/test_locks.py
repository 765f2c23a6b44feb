from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.testing import eventually
from penstock.uploads.errors import Ending, Idle, Interrupted, Locked
from penstock.uploads.locking.locks import UploadLocks

if TYPE_CHECKING:
    from tests.unit.conftest import LetPass

LONG = timedelta(minutes=10)
SHORT = timedelta(seconds=0.05)


class Reader:
    """Holds a lock and waits for a client that sends nothing."""

    def __init__(self, locks: UploadLocks, upload: str = "u", idle: timedelta = LONG) -> None:
        self.reading = False
        self.task = asyncio.ensure_future(self._read(locks, upload, idle))

    async def _read(self, locks: UploadLocks, upload: str, idle: timedelta) -> None:
        async with locks.hold(upload) as hold, hold.receiving(idle):
            self.reading = True
            await asyncio.Event().wait()

    async def begun(self) -> Reader:
        await eventually(lambda: self.reading)
        return self


async def held(locks: UploadLocks) -> tuple[asyncio.Task[None], asyncio.Event]:
    """Have somebody hold upload `u` until the event is set."""
    release = asyncio.Event()

    async def hold_on() -> None:
        async with locks.hold("u"):
            await release.wait()

    holder = asyncio.create_task(hold_on())
    await eventually(lambda: locks.holder("u"))
    return holder, release


async def test_a_free_lock_is_taken_and_let_go() -> None:
    locks = UploadLocks()
    async with locks.hold("u") as hold:
        assert locks.holder("u") is hold
        assert locks.holder("v") is None
    assert locks.holder("u") is None


async def test_a_newcomer_takes_over_from_whoever_waits_for_bytes() -> None:
    locks = UploadLocks()
    old = await Reader(locks).begun()
    async with locks.hold("u"):
        with pytest.raises(Interrupted, match="another request continues upload u"):
            await old.task


async def test_nobody_is_stopped_while_not_waiting_for_bytes() -> None:
    locks = UploadLocks()
    finish, steps = asyncio.Event(), []

    async def careful() -> None:
        async with locks.hold("u"):
            await finish.wait()
            steps.append("old is done")

    async def newcomer() -> None:
        async with locks.hold("u"):
            steps.append("new holds it")

    old = asyncio.ensure_future(careful())
    await eventually(lambda: locks.holder("u"))
    new = asyncio.ensure_future(newcomer())
    await asyncio.sleep(0)
    finish.set()
    await asyncio.gather(old, new)
    assert steps == ["old is done", "new holds it"]


async def test_a_newcomer_that_came_while_the_holder_wrote_stops_it_from_reading_on() -> None:
    locks = UploadLocks()
    waiting: list[asyncio.Task[None]] = []

    async def newcomer() -> None:
        async with locks.hold("u"):
            pass

    async def old() -> None:
        async with locks.hold("u") as hold:
            waiting.append(asyncio.create_task(newcomer()))
            await asyncio.sleep(0)  # the newcomer asks while we don't listen
            async with hold.receiving(LONG):
                raise AssertionError("must not begin to read")

    with pytest.raises(Interrupted):
        await old()
    await waiting[0]


async def test_the_newest_request_wins_over_those_who_wait() -> None:
    locks = UploadLocks()
    holder, release = await held(locks)
    readers = []
    for _ in range(3):
        readers.append(Reader(locks))
        await asyncio.sleep(0)
    release.set()
    await holder
    await readers[2].begun()
    for older in readers[:2]:
        with pytest.raises(Interrupted):
            await older.task
    readers[2].task.cancel()


async def test_waiting_has_a_bound() -> None:
    locks = UploadLocks(takeover=SHORT)
    async with locks.hold("u"):
        with pytest.raises(Locked, match="Try again in a few seconds"):
            async with locks.hold("u"):
                raise AssertionError("must not be held twice")
    async with locks.hold("u"):
        pass


async def test_a_cancelled_waiter_is_no_longer_in_the_way() -> None:
    locks = UploadLocks()
    holder, release = await held(locks)
    waiter, last = Reader(locks), Reader(locks)
    await asyncio.sleep(0)
    waiter.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter.task
    release.set()
    await holder
    await last.begun()
    last.task.cancel()


async def test_uploads_do_not_wait_for_each_other() -> None:
    locks = UploadLocks()
    async with locks.hold("u"), locks.hold("v"):
        pass


async def test_a_client_that_sends_nothing_is_given_up() -> None:
    locks = UploadLocks()
    reader = await Reader(locks, idle=SHORT).begun()
    with pytest.raises(Idle, match=r"nothing arrived for 0\.05 s"):
        await reader.task


async def test_an_answer_that_somebody_else_did_not_get_is_not_the_clients_silence() -> None:
    locks = UploadLocks()
    async with locks.hold("u") as hold:
        with pytest.raises(TimeoutError, match="of the storage"):
            async with hold.receiving(LONG):
                raise TimeoutError("of the storage")


async def test_a_client_that_sends_something_is_not(let_pass: LetPass) -> None:
    locks = UploadLocks()
    async with locks.hold("u") as hold, hold.receiving(LONG):
        for _ in range(5):
            let_pass(LONG.total_seconds() * 0.6)
            hold.alive()
            await asyncio.sleep(0.001)


async def test_cancellation_from_outside_stays_one() -> None:
    reader = await Reader(UploadLocks()).begun()
    reader.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader.task


async def test_closing_ends_those_who_read_and_those_who_come_later() -> None:
    locks = UploadLocks()
    readers = [await Reader(locks, upload).begun() for upload in "abc"]
    await locks.close()
    for reader in (*readers, Reader(locks)):
        with pytest.raises(Ending, match="continue when it is back"):
            await reader.task


async def test_closing_waits_for_those_who_write_but_not_for_ever() -> None:
    locks = UploadLocks(takeover=SHORT)
    await locks.close()
    async with locks.hold("u"):
        await locks.close()


async def test_no_lock_is_left_behind() -> None:
    locks = UploadLocks()
    reader = await Reader(locks).begun()
    async with locks.hold("u"):
        pass
    await asyncio.gather(reader.task, return_exceptions=True)
    assert locks.holder("u") is None
    assert not locks._queues
