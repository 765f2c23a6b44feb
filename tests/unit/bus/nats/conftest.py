"""A NATS server for the tests of a module, emptied before each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from nats.js.manager import JetStreamManager

from penstock.bus.nats import NatsBus
from penstock.clock import SystemClock
from penstock.jetstream import connect
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
            "ack_wait": timedelta(seconds=1),
            "look_every": timedelta(milliseconds=100),
            "publish_timeout": timedelta(seconds=5),
        }
        return NatsBus(options.pop("servers", server.servers), SystemClock(), **(hurry | options))

    return make
