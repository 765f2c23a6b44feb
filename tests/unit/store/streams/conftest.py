"""A plain connection to the server, to look and write behind the store's back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client

from tests.servers.nats import NatsServer


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(nats_server.endpoint)
    yield client
    await client.close()
