"""The storages that the suites of the protocols run on: each as the settings of a `penstock serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.servers.azurite import ACCOUNT
from tests.servers.azurite import KEY as ACCOUNT_KEY
from tests.servers.s3 import KEY, REGION, SECRET

if TYPE_CHECKING:
    import pytest

    from tests.servers.azurite import AzuriteServer
    from tests.servers.s3 import S3Server

STORES = ("local", "s3", "azure")


def settings_for_s3(s3: S3Server, bucket: str) -> dict[str, str]:
    """Return the settings for a bucket."""
    return {
        "PENSTOCK_STORAGE": "s3",
        "PENSTOCK_STAGING": "objects",
        "PENSTOCK_STORAGE_BUCKET": bucket,
        "PENSTOCK_STORAGE_ENDPOINT": s3.endpoint,
        "PENSTOCK_STORAGE_REGION": REGION,
        "PENSTOCK_STORAGE_ACCESS_KEY": KEY,
        "PENSTOCK_STORAGE_SECRET_KEY": SECRET,
    }


def settings_for_azure(azurite: AzuriteServer, container: str) -> dict[str, str]:
    """Return the settings for a container."""
    return {
        "PENSTOCK_STORAGE": "azure",
        "PENSTOCK_STAGING": "objects",
        "PENSTOCK_STORAGE_BUCKET": container,
        "PENSTOCK_STORAGE_ENDPOINT": azurite.endpoint,
        "PENSTOCK_STORAGE_ACCESS_KEY": ACCOUNT,
        "PENSTOCK_STORAGE_SECRET_KEY": ACCOUNT_KEY,
    }


def settings_on(kind: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the settings with which everything is staged and released in a bucket of its own, on our one server."""
    if kind == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        return settings_for_s3(s3, s3.new_bucket())
    if kind == "azure":
        azurite: AzuriteServer = request.getfixturevalue("azurite")
        return settings_for_azure(azurite, azurite.new_container())
    return {}
