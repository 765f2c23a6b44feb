"""The store in an object bucket of NATS is a store that outlives its process and is shared by several."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats
import pytest

from penstock.jetstream import NatsServers
from penstock.store.nats_object import NatsObjectStore
from penstock.store.target import StoreTarget
from penstock.testing.store_contract import DurableStoreContract, RefusesForeignValues

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from penstock.store.base import ProgressStore
    from tests.servers.nats import NatsServer


@asynccontextmanager
async def open_store(place: str) -> AsyncIterator[ProgressStore]:
    """`place` is `host:port/bucket/table`."""
    endpoint, database, table = place.split("/")
    target = StoreTarget(nodes=(endpoint,), database=database, table=table)
    async with NatsObjectStore(target, servers=NatsServers(target.nodes)) as store:
        yield store


class TestNatsObjectStore(DurableStoreContract, RefusesForeignValues):
    """Runs the suites."""

    factory = "tests.contract.test_store_nats_object:open_store"

    @pytest.fixture(autouse=True)
    def in_a_new_bucket(self, nats_server: NatsServer, new_bucket: str) -> None:
        self.endpoint, self.bucket = nats_server.endpoint, new_bucket

    def argument(self) -> str:
        return f"{self.endpoint}/{self.bucket}/uploads"

    async def put(self, upload_id: str, value: bytes) -> None:
        client = await nats.connect(self.endpoint)
        bucket = await client.jetstream().object_store(self.bucket)
        await bucket.put(f"uploads_{upload_id}", value)
        await client.close()
