"""How a service that runs by itself is started."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from penstock.server.single import run_single
from penstock.settings import Settings, load_settings
from penstock.settings.services import Service
from penstock.telemetry import Metrics
from tests.servers.ports import free_port

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


STARTED = """
import sys, uvloop
uvloop.run = lambda forever: forever.close()
sys.argv = ["penstock", "postprocessing", "server"]
from penstock.cli import main
try:
    main()
finally:
    import penstock.bus.nats.bus, penstock.store.nats_kv
    print(*sorted({name.partition(".")[0] for name, module in sys.modules.items() if module is not None}))
"""


def test_the_coordinator_does_not_load_what_only_the_server_of_uploads_needs() -> None:
    environ = {"POSTPROCESSING_STORE": "nats-js-kv", "POSTPROCESSING_DEBUG_ADDR": f"127.0.0.1:{free_port()}"}
    started = subprocess.run(
        [sys.executable, "-c", STARTED], env=environ, capture_output=True, text=True, timeout=240, check=False
    )
    assert started.returncode == 0, started.stderr
    loaded = set(started.stdout.split())
    assert {"penstock", "nats", "uvicorn"} <= loaded
    assert not loaded & {"alembic", "fastapi", "httpx", "obstore", "sqlalchemy", "starlette", "yara_x"}
