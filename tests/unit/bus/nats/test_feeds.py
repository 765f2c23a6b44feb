"""What a feed that has to ask says to the server."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from penstock.bus.nats.consumers import Consumer
from penstock.bus.nats.feeds import PullFeed
from penstock.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.jetstream import NatsClient


class Server:
    """Takes questions down; answers when it is told to."""

    is_connected = True

    def __init__(self) -> None:
        self.on_reconnected: list[Callable[[], None]] = []
        self.batches: list[int] = []
        self._receive: Callable[[bytes, bytes, bytes, bytes], None]

    def new_inbox(self) -> str:
        return "inbox"

    def listen(self, _subject: str, receive: Callable[[bytes, bytes, bytes, bytes], None]) -> int:
        self._receive = receive
        return 1

    def unlisten(self, _handle: int) -> None:
        """Nothing more will come."""

    def send(self, _subject: bytes, data: bytes, **_: bytes) -> None:
        self.batches.append(json.loads(data)["batch"])

    def deliver(self, number: int) -> None:
        for sequence in range(1, number + 1):
            self._receive(b"inbox.1", b"$JS.ACK.main-queue.c.1.%d.%d.0.0" % (sequence, sequence), b"{}", b"")


class Work:
    """What there is room for, and what has come."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.server = Server()
        consumer = Consumer("c", datetime(2026, 1, 1, tzinfo=UTC), "", "", timedelta(seconds=10), 0, frozenset())
        self.feed = PullFeed(
            cast("NatsClient", self.server),
            consumer,
            ManualClock(),
            deliver=lambda *_: self.take(),
            room=lambda: self.room,
            missing=lambda: None,
        )
        self.feed.open()

    def take(self) -> None:
        self.room -= 1

    async def done(self, number: int) -> None:
        """Have done with some, and let the event loop turn."""
        for _ in range(number):
            self.room += 1
            self.feed.ask()
        await asyncio.sleep(0)


@pytest.fixture
def work() -> Work:
    return Work(100)


async def test_it_asks_once_for_all_that_is_done_in_one_turn(work: Work) -> None:
    await work.done(0)
    work.feed.ask()
    await work.done(0)
    assert work.server.batches == [100]
    work.server.deliver(90)
    await work.done(90)
    assert work.server.batches == [100, 90]


async def test_it_does_not_ask_for_little_while_much_is_coming(work: Work) -> None:
    work.feed.ask()
    await work.done(0)
    work.server.deliver(10)
    await work.done(10)
    assert work.server.batches == [100]


async def test_it_asks_nothing_after_its_end(work: Work) -> None:
    work.feed.ask()
    work.feed.close()
    await work.done(5)
    assert work.server.batches == []


async def test_a_new_connection_is_asked_for_everything(work: Work) -> None:
    work.feed.ask()
    await work.done(0)
    work.server.deliver(30)
    for reconnected in work.server.on_reconnected:
        reconnected()
    await work.done(0)
    assert work.server.batches == [100, 70]
