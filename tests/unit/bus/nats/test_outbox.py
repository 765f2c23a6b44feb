"""What publishing does while the server confirms nothing, or too slowly."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest

from penstock.bus.base import BusUnavailable
from penstock.bus.nats import outbox
from penstock.bus.nats.outbox import Message, Outbox
from penstock.clock import SystemClock
from penstock.testing import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.jetstream import NatsClient
    from tests.unit.conftest import LetPass

ONE = [Message(b"main-queue", b"", b"{}")]


class Server:
    """Takes down where answers go to, and answers when it is told to."""

    unsent_bytes = 0

    def __init__(self) -> None:
        self.on_reconnected: list[Callable[[], None]] = []
        self.replies: list[bytes] = []
        self.deaf_for = 1000
        """How many messages it does not confirm."""
        self._receive: Callable[[bytes, bytes, bytes, bytes], None]

    def new_inbox(self) -> str:
        return "inbox"

    def listen(self, _subject: str, receive: Callable[[bytes, bytes, bytes, bytes], None]) -> int:
        self._receive = receive
        return 1

    def unlisten(self, _handle: int) -> None:
        """Nothing more will come."""

    def send(self, _subject: bytes, _data: bytes, *, reply: bytes, headers: bytes) -> None:
        del headers
        self.replies.append(reply)
        if len(self.replies) > self.deaf_for:
            asyncio.get_running_loop().call_soon(self.confirm, reply)

    def confirm(self, reply: bytes) -> None:
        self._receive(reply, b"", b'{"stream":"main-queue","seq":1}', b"")


@pytest.fixture
def server() -> Server:
    return Server()


def outbox_to(server: Server, *, seconds: float) -> Outbox:
    async def make_streams() -> None:
        """There are streams."""

    made = Outbox(
        cast("NatsClient", server),
        SystemClock(),
        timeout=timedelta(seconds=seconds),
        make_streams=make_streams,
        first_event=lambda: 1,
    )
    made.open()
    return made


async def test_what_is_not_confirmed_fails_in_time(server: Server) -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(BusUnavailable, match="did not confirm 1 of 1"):
        await outbox_to(server, seconds=0.2).publish(ONE)
    assert 0.1 < asyncio.get_running_loop().time() - began < 30.0


async def test_what_is_not_confirmed_is_said_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, let_pass: LetPass
) -> None:
    monkeypatch.setattr(outbox, "_ONE_TRY", timedelta(seconds=20))
    server.deaf_for = 2
    publishing = asyncio.create_task(outbox_to(server, seconds=1000).publish(ONE))
    for number in (1, 2):
        await eventually(lambda number=number: len(server.replies) == number)  # type: ignore[misc]
        await asyncio.sleep(0)
        let_pass(21)
    await publishing
    assert len(set(server.replies)) == 3


async def test_it_waits_for_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_IN_FLIGHT", 2)
    full = outbox_to(server, seconds=60)
    publishing = [asyncio.create_task(full.publish(ONE)) for _ in range(3)]
    await eventually(lambda: len(server.replies) == 2)
    server.confirm(server.replies[0])
    await eventually(lambda: len(server.replies) == 3)
    server.confirm(server.replies[1])
    server.confirm(server.replies[2])
    await asyncio.gather(*publishing)


async def test_it_waits_for_room_only_so_long(server: Server) -> None:
    full = outbox_to(server, seconds=0.2)
    server.unsent_bytes = 2**30
    stuck = asyncio.create_task(full.publish(ONE))  # nothing waits yet, so it is said
    await eventually(lambda: bool(server.replies))
    with pytest.raises(BusUnavailable):
        await full.publish(ONE)
    with pytest.raises(BusUnavailable):
        await stuck
