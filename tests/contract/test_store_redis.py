"""The stores in Redis, alone and behind sentinels, are stores that outlive their process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.store.redis import RedisSentinelStore, RedisStore
from penstock.store.target import StoreTarget
from penstock.testing.store_contract import DurableStoreContract, KeepsOrder, RefusesForeignValues
from tests.servers.redis import RedisProcess, RedisWithSentinels, running_redis, running_sentinels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from penstock.store.base import ProgressStore

pytestmark = pytest.mark.xdist_group("redis")

TABLE = "up[load]s*"
"""Characters that mean something in a pattern of Redis mean nothing in the name of a table."""


def open_store(node: str) -> AbstractAsyncContextManager[ProgressStore]:
    return RedisStore(StoreTarget(nodes=(node,)))


def open_sentinel_store(nodes: str) -> AbstractAsyncContextManager[ProgressStore]:
    return RedisSentinelStore(StoreTarget(nodes=tuple(nodes.split(",")), table=TABLE))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisWithSentinels]:
    with running_sentinels(tmp_path_factory.mktemp("sentinels")) as servers:
        yield servers


class TestRedisStore(DurableStoreContract, KeepsOrder, RefusesForeignValues):
    """Runs the suites on one server."""

    factory = "tests.contract.test_store_redis:open_store"

    @pytest.fixture(autouse=True)
    def in_an_empty_database(self, server: RedisProcess) -> None:
        self.server = server
        server.ask("FLUSHALL")

    def argument(self) -> str:
        return self.server.node

    async def put(self, upload_id: str, value: bytes) -> None:
        with self.server.client() as client:
            client.set(upload_id, value)


class TestRedisSentinelStore(DurableStoreContract, KeepsOrder, RefusesForeignValues):
    """Runs the suites on a master with a replica, in a table."""

    factory = "tests.contract.test_store_redis:open_sentinel_store"

    @pytest.fixture(autouse=True)
    def in_an_empty_database(self, sentinels: RedisWithSentinels) -> None:
        self.sentinels = sentinels
        sentinels.master().ask("FLUSHALL")

    def argument(self) -> str:
        return ",".join(self.sentinels.nodes)

    async def put(self, upload_id: str, value: bytes) -> None:
        with self.sentinels.master().client() as client:
            client.set(TABLE + upload_id, value)
