"""Dies in the life of an upload that is staged in an object store; the next life brings each one to its end.

Deaths between the requests of a step are in `tests/unit/blobs/test_staging.py`.
"""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import pytest

from penstock.uploads.upload import Phase
from tests.servers.s3 import KEY, REGION, SECRET, S3Server

from .files import FILES
from .forks import Forks
from .inventory import check_inventory
from .life import Order, Told, points, report
from .points import Death
from .test_faults import check_kept, check_outcomes, deaths, folder, forks, last_words
from .test_storage import bucket, s3

__all__ = ["bucket", "folder", "forks", "s3"]  # fixtures

POINTS = """
    staging.append
    staging.append.seal
    staging.create
    staging.discard
"""
"""What receives bytes, and what removes them."""
LATER = {"staging.append.seal": (3,), "staging.discard": (4,)}


@pytest.fixture
def settings(s3: S3Server, bucket: str) -> dict[str, str]:
    return {
        "storage": "s3",
        "staging": "objects",
        "storage_bucket": bucket,
        "storage_endpoint": s3.endpoint,
        "storage_region": REGION,
        "storage_access_key": KEY,
        "storage_secret_key": SECRET,
    }


def check_objects(folder: Path, s3: S3Server, bucket: str) -> None:
    """Every released file is an object, whole; what else there is belongs to the rejected ones, which are staged."""
    fates = report(folder).fates
    released = [file for file in FILES.values() if file.ends is Phase.RELEASED]
    rejected = {fates[file.name].upload_ids[0] for file in FILES.values() if file.ends is Phase.REJECTED}
    expected = {fates[file.name].upload_ids[0]: hashlib.sha256(file.content).hexdigest() for file in released}
    staged = [key for key in s3.keys(bucket) if key.startswith("staging/")]
    assert {key.split("/")[1] for key in staged} == rejected
    others = set(s3.keys(bucket)) - set(staged)
    assert {key: hashlib.sha256(s3.content(bucket, key) or b"").hexdigest() for key in others} == expected
    check_inventory(folder / "data", s3, bucket, staged_here=False)


def test_an_untroubled_life_comes_by_all_points(
    forks: Forks, folder: Path, s3: S3Server, bucket: str, settings: dict[str, str]
) -> None:
    assert forks.live(Order(str(folder), settings=settings)) == 0, last_words(folder)
    counted = points(folder)
    known = [line.strip() for line in POINTS.strip().splitlines()]
    assert not [point for point in known if counted[point] < max(LATER.get(point, (1,)))]
    assert forks.live(Order(str(folder), is_last=True, settings=settings)) == 0, last_words(folder)
    check_outcomes(folder, released_here=False)
    check_objects(folder, s3, bucket)


@pytest.mark.parametrize("death", deaths(POINTS, LATER), ids=str)
def test_death_loses_nothing(
    forks: Forks, folder: Path, s3: S3Server, bucket: str, settings: dict[str, str], death: Death
) -> None:
    assert forks.live(Order(str(folder), death, settings=settings)) == -signal.SIGKILL, last_words(folder)
    told = Told(folder)
    assert forks.live(Order(str(folder), is_last=True, settings=settings)) == 0, last_words(folder)
    check_kept(told, report(folder))
    check_outcomes(folder, released_here=False)
    check_objects(folder, s3, bucket)
