"""The store in etcd is a store that outlives its process and is shared."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from penstock.store.etcd import EtcdStore
from penstock.store.target import StoreTarget
from penstock.testing.store_contract import DurableStoreContract, RefusesForeignValues
from tests.servers.etcd import EtcdNode, running_etcd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from penstock.store.base import ProgressStore


@asynccontextmanager
async def open_store(node: str) -> AsyncIterator[ProgressStore]:
    async with EtcdStore(StoreTarget(nodes=(node,))) as store:
        yield store


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdNode]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as node:
        yield node


class TestEtcdStore(DurableStoreContract, RefusesForeignValues):
    """Runs the suites."""

    factory = "tests.contract.test_store_etcd:open_store"

    @pytest.fixture(autouse=True)
    def in_an_empty_etcd(self, etcd: EtcdNode) -> None:
        etcd.clear()
        self.etcd = etcd

    def argument(self) -> str:
        return self.etcd.address

    async def put(self, upload_id: str, value: bytes) -> None:
        self.etcd.put(b"//.prefix/" + upload_id.encode(), value)
