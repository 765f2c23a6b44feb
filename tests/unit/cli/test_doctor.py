from __future__ import annotations

import pytest

from penstock.health import Check
from tests.unit.cli.conftest import Penstock

WELL = Check("disk", ok=True, detail="5 GiB free.")
ILL = Check("scanner", ok=False, detail="clamd is away.", hint="Start it.")


def test_all_is_well(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.cli.checks.examine", lambda config, url: [WELL])
    ended = penstock("doctor")
    assert ended.status == 0
    assert ended.out.splitlines()[1].split()[:2] == ["ok", "disk"]


def test_something_is_wrong(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.cli.checks.examine", lambda config, url: [WELL, ILL])
    ended = penstock("doctor")
    assert ended.status == 1
    assert "wrong" in ended.out
    assert "Start it." in ended.out
    ended = penstock("doctor", "--json")
    assert ended.status == 1
    assert ended.json[1] == {"name": "scanner", "ok": False, "detail": "clamd is away.", "hint": "Start it."}
