"""How a service that runs by itself is started."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from penstock.server import run_single
from penstock.settings import Settings, load_settings
from penstock.settings.services import Service
from penstock.telemetry import Metrics

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from penstock.health import Check


class Idle:
    """A service that is never run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()

    async def run(self) -> None:
        """Do nothing."""

    async def checks(self) -> list[Check]:
        """Tell nothing."""
        return []

    async def look_up(self) -> None:
        """Set nothing."""


@pytest.fixture
def usual_collector() -> Iterator[tuple[int, int, int]]:
    usual = gc.get_threshold()
    yield usual
    gc.unfreeze()
    gc.set_threshold(*usual)


def test_the_garbage_collector_looks_rarely_and_only_at_what_is_new(
    usual_collector: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def run(forever: Coroutine[object, object, None]) -> None:
        forever.close()
        seen.append((gc.get_threshold()[0], gc.get_freeze_count()))

    monkeypatch.setattr("uvloop.run", run)
    run_single(load_settings(environ={}, service=Service.POSTPROCESSING), Idle)
    ((new_objects, frozen),) = seen
    assert new_objects > 10 * usual_collector[0]
    assert frozen > 10_000
