"""Shows what an assertion of a contract suite compared, as in the tests here; and where the suites of blobs work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.azurite import AzuriteServer
    from tests.servers.fake_gcs import FakeGcs
    from tests.servers.s3 import S3Server

pytest.register_assert_rewrite(
    "penstock.testing.bus_contract", "penstock.testing.scanner_contract", "penstock.testing.store_contract"
)


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    return s3.new_bucket()


@pytest.fixture(scope="module")
def container(azurite: AzuriteServer) -> str:
    return azurite.new_container()


@pytest.fixture(scope="module")
def gcs_bucket(fake_gcs: FakeGcs) -> str:
    return fake_gcs.new_bucket()
