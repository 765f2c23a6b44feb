"""One etcd for the tests of a module, empty at the begin of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.etcd import EtcdNode, running_etcd

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdNode]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as node:
        yield node


@pytest.fixture
def etcd(shared_etcd: EtcdNode) -> EtcdNode:
    shared_etcd.clear()
    return shared_etcd
