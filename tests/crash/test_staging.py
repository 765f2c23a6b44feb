"""Dies in the life of an upload that is staged in an object store; the next life brings each one to its end.

Deaths between the requests of a step are in `tests/unit/blobs/test_staging.py`.
"""

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
    blobs.unstage
    staging.append
    staging.append.seal
    staging.create
    staging.discard
    storage.put
"""
"""What receives bytes, and what moves and removes them."""
LATER = {"staging.append.seal": (3,), "staging.discard": (4,)}


@pytest.fixture
def lives(forks: Forks, folder: Path, s3: S3Server, bucket: str) -> ObjectLives:
    return ObjectLives(forks, folder, s3, bucket, staged_here=False)


def test_an_untroubled_life_comes_by_all_points(lives: ObjectLives) -> None:
    counted = lives.untroubled()
    known = [line.strip() for line in POINTS.strip().splitlines()]
    assert not [point for point in known if counted[point] < max(LATER.get(point, (1,)))]


@pytest.mark.parametrize("death", deaths(POINTS, LATER), ids=str)
def test_death_loses_nothing(lives: ObjectLives, death: Death) -> None:
    lives.with_death(death)
