"""Dies between any two steps of a release into an object store; the next life brings every file to its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .objects import ObjectLives
from .test_faults import deaths

if TYPE_CHECKING:
    from tests.servers.s3 import S3Server

    from .forks import Forks
    from .points import Death

POINTS = """
    blobs.release
    blobs.unstage
    bus.publish UploadReady
    catalogue.change processing > released
    storage.put
    storage.read
    storage.remove
    storage.size
"""
"""What a release calls, and a removal."""
LATER = {"storage.put": (3,), "storage.read": (2,), "storage.size": (2, 3, 4)}


@pytest.fixture
def lives(forks: Forks, folder: Path, s3: S3Server, bucket: str) -> ObjectLives:
    return ObjectLives(forks, folder, s3, bucket, staged_here=True)


def test_an_untroubled_life_comes_by_all_points(lives: ObjectLives) -> None:
    counted = lives.untroubled()
    known = [line.strip() for line in POINTS.strip().splitlines()]
    assert not [point for point in known if counted[point] < max(LATER.get(point, (1,)))]
    calls = {point for point in counted if point.startswith("storage.") and not point.endswith(".next")}
    assert calls - {"storage.__aenter__"} <= set(known)


@pytest.mark.parametrize("death", deaths(POINTS, LATER), ids=str)
def test_death_loses_nothing(lives: ObjectLives, death: Death) -> None:
    lives.with_death(death)
