"""The store in a key-value bucket of NATS is a store that outlives its process and is shared by several."""

from __future__ import annotations

import json
from base64 import b32encode, b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats
import pytest

from penstock.jetstream import NatsServers
from penstock.store.nats_kv import NatsKvStore
from penstock.store.target import StoreTarget
from penstock.testing.store_contract import DurableStoreContract, RefusesForeignValues

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from penstock.store.base import ProgressStore
    from tests.servers.nats import NatsServer


@asynccontextmanager
async def open_store(place: str) -> AsyncIterator[ProgressStore]:
    """`place` is `host:port/bucket`."""
    endpoint, database = place.split("/")
    target = StoreTarget(nodes=(endpoint,), database=database)
    async with NatsKvStore(target, servers=NatsServers(target.nodes)) as store:
        yield store


@asynccontextmanager
async def open_store_to_list(place: str) -> AsyncIterator[ProgressStore]:
    """The same without an index, as commands of operators have it."""
    endpoint, database = place.split("/")
    target = StoreTarget(nodes=(endpoint,), database=database)
    async with NatsKvStore(target, servers=NatsServers(target.nodes), indexed=False) as store:
        yield store


class TestNatsKvStore(DurableStoreContract, RefusesForeignValues):
    """Runs the suites."""

    factory = "tests.contract.test_store_nats_kv:open_store"

    @pytest.fixture(autouse=True)
    def in_a_new_bucket(self, nats_server: NatsServer, new_bucket: str) -> None:
        self.endpoint, self.bucket = nats_server.endpoint, new_bucket

    def argument(self) -> str:
        return f"{self.endpoint}/{self.bucket}"

    async def put(self, upload_id: str, value: bytes) -> None:
        entry = json.dumps({"key": upload_id, "data": b64encode(value).decode(), "metadata": None})
        client = await nats.connect(self.endpoint)
        await client.jetstream().publish(f"$KV.{self.bucket}.{b32encode(upload_id.encode()).decode()}", entry.encode())
        await client.close()


class TestNatsKvStoreToList(TestNatsKvStore):
    """It promises the same."""

    factory = "tests.contract.test_store_nats_kv:open_store_to_list"
