"""A NATS server for the tests of a module, emptied before each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.js.manager import JetStreamManager

from penstock.bus.nats import NatsBus
from penstock.clock import SystemClock
from penstock.jetstream import NatsClient, connect
from penstock.testing import eventually
from tests.servers.nats import NatsServer, running_nats

NewBus = Callable[..., NatsBus]


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def server(shared_server: NatsServer) -> NatsServer:
    await shared_server.delete_streams()
    return shared_server


@pytest.fixture
async def manager(server: NatsServer) -> AsyncIterator[JetStreamManager]:
    async with connect(server.servers, name="test") as client:
        yield client.jsm()


@pytest.fixture
def new_bus(server: NatsServer) -> NewBus:
    """Makes a bus that is not open yet, and is in a hurry."""

    def make(**options: Any) -> NatsBus:
        hurry = {
            "ack_wait": timedelta(seconds=30),
            "look_every": timedelta(milliseconds=100),
            "publish_timeout": timedelta(seconds=60),
        }
        servers, clock = options.pop("servers", server.servers), options.pop("clock", None) or SystemClock()
        return NatsBus(servers, clock, **(hurry | options))

    return make


class Patient(SystemClock):
    """A clock by which much time can pass at once; who sleeps looks again and again."""

    def __init__(self) -> None:
        self.passed_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed_seconds

    async def sleep(self, duration: timedelta) -> None:
        await super().sleep(min(duration, timedelta(milliseconds=20)))


async def gives_signs_of_life(client: NatsClient, clock: Patient, *, events: int, ack_wait: timedelta) -> None:
    """Wait until the server was told twice of each event that somebody has it, as often as it has to be."""
    told: list[bytes] = []

    async def hear(message: Msg) -> None:
        if message.data == b"+WPI":
            told.append(message.data)

    await client.subscribe("$JS.ACK.>", cb=hear)
    await client.flush()
    for turn in (1, 2):
        clock.passed_seconds += ack_wait.total_seconds() / 2
        await eventually(lambda turn=turn: len(told) >= turn * events)  # type: ignore[misc]
