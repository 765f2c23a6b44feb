from __future__ import annotations

from pathlib import Path

import pytest

from penstock.settings import Settings
from tests.unit.cli.conftest import Penstock


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    runs: list[Settings] = []
    monkeypatch.setattr("penstock.server.serve.run", runs.append)
    return runs


def test_the_command_line_wins(
    penstock: Penstock, started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_HTTP_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("PENSTOCK_LOG_LEVEL", "error")
    assert penstock("serve", "--http-addr", ":9000", "--data-dir", "here", "--log-format", "json").status == 0
    (settings,) = started
    assert str(settings.http_addr) == "0.0.0.0:9000"
    assert settings.data_dir == tmp_path / "here"
    assert (settings.log_level, settings.log_format) == ("error", "json")
    assert str(settings.origins["http_addr"]) == "command line: --http-addr"


def test_files_of_steps_are_added_to_those_that_are_set(
    penstock: Penstock, started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_STEP_FILES", "/etc/a.py")
    assert penstock("serve", "--steps", "b, c.py", "--steps", "/etc/a.py").status == 0
    assert started[0].step_files == (Path("/etc/a.py"), tmp_path / "b, c.py")


def test_with_wrong_settings_nothing_is_started(penstock: Penstock, started: list[Settings]) -> None:
    ended = penstock("serve", "--http-addr", "8080")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "--http-addr 8080 (command line): not an address" in ended.err
    assert started == []
