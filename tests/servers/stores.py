"""The storages that the suites of the protocols run on: each as the settings of a `penstock serve`."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.azurite import ACCOUNT, running_azurite
from tests.servers.azurite import KEY as ACCOUNT_KEY
from tests.servers.s3 import KEY, REGION, SECRET, running_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextmanager
def running_store(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """Run a storage; give the settings with which everything is staged there, and released there."""
    if kind == "s3":
        with running_s3(folder) as s3:
            yield settings_for_s3(s3, s3.new_bucket())
    elif kind == "azure":
        with running_azurite(folder) as azurite:
            yield {
                "PENSTOCK_STORAGE": "azure",
                "PENSTOCK_STAGING": "objects",
                "PENSTOCK_STORAGE_BUCKET": azurite.new_container(),
                "PENSTOCK_STORAGE_ENDPOINT": azurite.endpoint,
                "PENSTOCK_STORAGE_ACCESS_KEY": ACCOUNT,
                "PENSTOCK_STORAGE_SECRET_KEY": ACCOUNT_KEY,
            }
    else:
        yield {}
