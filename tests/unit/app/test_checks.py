"""What `penstock serve` finds when something that it needs is away: that is what is asked for, and so must be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.app.serve import App
from penstock.settings import load_settings
from penstock.store.base import StoreUnavailable
from penstock.testing.faults import Faults, fail

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_store_that_is_away_is_told_beside_all_else(tmp_path: Path) -> None:
    environ = {"PENSTOCK_DATA_DIR": str(tmp_path / "data"), "PENSTOCK_STEPS": ""}
    settings, faults = load_settings(environ=environ, folder=tmp_path), Faults()
    async with App(settings, wrap=faults.wrap) as app:
        assert all(check.ok for check in await app.services.checks() if check.name in ("store", "stalled", "steps"))
        for call in ("store.get", "store.all.next"):
            faults.before(call, fail(StoreUnavailable("nobody answers")))
        app.services.survey._numbers = None
        found = {check.name: check for check in await app.services.checks()}
    assert {name for name, check in found.items() if not check.ok} >= {"store", "stalled"}
    assert found["store"].gates
    assert "nobody answers" in found["stalled"].detail
    assert found["steps"].ok
