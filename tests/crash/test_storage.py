"""Dies between any two steps of a release into an object store; the next life brings every file to its end."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.uploads.upload import Phase
from tests.servers.s3 import KEY, REGION, SECRET, S3Server, running_s3

from .files import FILES
from .forks import Forks
from .inventory import check_inventory
from .life import Order, Told, points, report
from .points import Death
from .test_faults import check_kept, check_outcomes, deaths, folder, forks, last_words

__all__ = ["folder", "forks"]  # fixtures

POINTS = """
    blobs.release
    blobs.unstage
    catalogue.change processing > released
    storage.put
    storage.read
    storage.remove
    storage.size
"""
"""What a release calls, and a removal."""
LATER = {"storage.put": (3,), "storage.read": (2,), "storage.size": (2, 3, 4)}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return s3.new_bucket()


@pytest.fixture
def settings(s3: S3Server, bucket: str) -> dict[str, str]:
    return {
        "storage": "s3",
        "storage_bucket": bucket,
        "storage_endpoint": s3.endpoint,
        "storage_region": REGION,
        "storage_access_key": KEY,
        "storage_secret_key": SECRET,
    }


def check_objects(folder: Path, s3: S3Server, bucket: str) -> None:
    """Every released file is an object, whole; there is no other object, and no part of one."""
    fates = report(folder).fates
    released = [file for file in FILES.values() if file.ends is Phase.RELEASED]
    expected = {fates[file.name].upload_ids[0]: hashlib.sha256(file.content).hexdigest() for file in released}
    found = {key: hashlib.sha256(s3.content(bucket, key) or b"").hexdigest() for key in s3.keys(bucket)}
    assert found == expected
    assert {key: s3.metadata(bucket, key)["sha256"] for key in found} == expected
    check_inventory(folder / "data", s3, bucket)


def test_an_untroubled_life_comes_by_all_points(
    forks: Forks, folder: Path, s3: S3Server, bucket: str, settings: dict[str, str]
) -> None:
    assert forks.live(Order(str(folder), settings=settings)) == 0, last_words(folder)
    counted = points(folder)
    known = [line.strip() for line in POINTS.strip().splitlines()]
    assert not [point for point in known if counted[point] < max(LATER.get(point, (1,)))]
    calls = {point for point in counted if point.startswith("storage.") and not point.endswith(".next")}
    assert calls - {"storage.__aenter__"} <= set(known)
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
