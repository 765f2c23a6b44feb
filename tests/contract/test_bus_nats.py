"""The bus on a real NATS server is a bus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.bus.base import Bus
from penstock.bus.nats import NatsBus
from penstock.clock import SystemClock
from penstock.testing.bus_contract import BusContract
from tests.servers.nats import NatsServer, running_nats


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


class TestNatsBus(BusContract):
    """Runs the suite."""

    @pytest.fixture(autouse=True)
    async def _empty_server(self, server: NatsServer) -> None:
        await server.delete_streams()
        self.server = server

    def new_bus(self) -> Bus:
        return NatsBus(
            self.server.servers,
            SystemClock(),
            ack_wait=timedelta(seconds=30),
            look_every=timedelta(milliseconds=100),
        )
