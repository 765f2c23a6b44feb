"""Dies while uploads are released at once, as no step is for them; the next life has no steps either, or has some."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .files import FILES
from .forks import Forks
from .inventory import check_inventory
from .life import Order, Told, points, report
from .points import Death
from .test_faults import check_fate, deaths, last_words

ONLY = ("waiting", "clean", "empty", "halves", "unannounced")
"""Files that every step would let pass."""
NO_STEPS = {"steps": "", "delay": "0s"}
STEPS = {"steps": "virusscan,trouble,delay"}
POINTS = """
    blobs.append.seal_and_release
    blobs.append.seal_and_release.then
    catalogue.change receiving > released
"""
LATER = {
    "blobs.append.seal_and_release": (2,),
    "blobs.append.seal_and_release.then": (2,),
    "catalogue.change receiving > released": (2, 3),
}


def test_an_untroubled_life_comes_by_all_points(forks: Forks, folder: Path) -> None:
    assert forks.live(Order(str(folder), settings=NO_STEPS, only=ONLY)) == 0, last_words(folder)
    counted = points(folder)
    assert not [point for point in POINTS.split("\n") if counted[point.strip()] < max(LATER.get(point.strip(), (0,)))]
    _check_last(forks, folder, NO_STEPS)


@pytest.mark.parametrize("then", [NO_STEPS, STEPS], ids=["still", "with steps"])
@pytest.mark.parametrize("death", deaths(POINTS, LATER), ids=str)
def test_death_loses_nothing(forks: Forks, folder: Path, death: Death, then: dict[str, str]) -> None:
    assert forks.live(Order(str(folder), death, settings=NO_STEPS, only=ONLY)) == -signal.SIGKILL, last_words(folder)
    _check_last(forks, folder, then)


def _check_last(forks: Forks, folder: Path, settings: dict[str, str]) -> None:
    told = Told(folder)
    order = Order(str(folder), is_last=True, settings=settings, only=ONLY)
    assert forks.live(order) == 0, last_words(folder)
    said = report(folder)
    for name in ONLY:
        check_fate(FILES[name], said.fates[name])
        if told.last(name, "complete"):
            assert name not in said.found
    assert (said.records, said.staged) == ({}, [])
    check_inventory(folder / "data")
