from __future__ import annotations

import socket
from pathlib import Path

import pytest

import penstock
from penstock.cli import checks
from penstock.cli.checks import examine
from penstock.health import Check
from tests.unit.cli.fake_server import Answer, FakeServer


@pytest.fixture(autouse=True)
def nobody_listens(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del clean_environment
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PENSTOCK_HTTP_ADDR", f"127.0.0.1:{probe.getsockname()[1]}")


def found(*, url: str | None = None) -> dict[str, Check]:
    return {check.name: check for check in examine(None, url)}


def test_all_is_well_where_no_server_runs() -> None:
    looked = found()
    assert list(looked) == ["settings", "data_dir", "http_addr", "steps", "scanner"]
    assert [name for name, check in looked.items() if not check.ok] == []
    assert all(check.hint == "" for check in looked.values())
    assert looked["settings"].detail == "All are valid. Not at their default: http_addr."


def test_each_wrong_setting_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_WORKERS", "0")
    monkeypatch.setenv("PENSTOCK_STORE", "paper")
    problems = examine(None, None)
    assert [check.name for check in problems] == ["settings", "settings"]
    assert not any(check.ok for check in problems)
    assert "PENSTOCK_STORE=paper (environment): unknown." in problems[1].detail


def test_a_deprecated_name_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTPROCESSING_VIRUSSCAN", "true")
    told = [check for check in examine(None, None) if not check.ok]
    assert [check.detail.split(".")[0] for check in told] == ["POSTPROCESSING_VIRUSSCAN is deprecated"]


def test_a_folder_that_is_none_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PENSTOCK_DATA_DIR", "file/data")
    assert not found()["data_dir"].ok


def test_little_room_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_ENOUGH_BYTES", 2**62)
    looked = found()["data_dir"]
    assert not looked.ok
    assert "Free some space" in looked.hint


def test_a_step_that_nobody_answers_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTPROCESSING_STEPS", "virusscna")
    assert "virusscna" in found()["steps"].detail


def test_a_step_of_ones_own_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.py").write_text(
        "from penstock import Outcome, step\n@step('ocr')\ndef ocr(upload): return Outcome.CONTINUE\n"
    )
    monkeypatch.setenv("POSTPROCESSING_STEPS", "ocr")
    monkeypatch.setenv("PENSTOCK_STEP_FILES", "s.py")
    looked = found()
    assert looked["steps"].ok
    assert "Not used" in looked["scanner"].detail


def test_a_scanner_that_is_away_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIVIRUS_SCANNER_TYPE", "clamav")
    monkeypatch.setenv("ANTIVIRUS_CLAMAV_SOCKET", "tcp://127.0.0.1:1")
    looked = found()["scanner"]
    assert not looked.ok
    assert "127.0.0.1:1" in looked.detail


def test_a_port_that_somebody_else_has_is_a_finding(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HTTP_ADDR", f"127.0.0.1:{server.port}")
    server.routes = {("GET", "/api/v1/info"): lambda request: Answer(200, b"<html>")}
    looked = found()
    assert list(looked) == ["settings", "server"]
    assert "no Penstock server" in looked["server"].detail
    assert "http_addr" in looked["server"].hint


def test_a_running_server_tells_what_it_finds(server: FakeServer) -> None:
    finding = {"name": "scanner", "ok": False, "detail": "clamd is away.", "hint": "Start it."}
    server.routes = {
        ("GET", "/api/v1/info"): lambda request: Answer.of({"name": "penstock", "version": penstock.__version__}),
        ("GET", "/api/v1/doctor"): lambda request: Answer.of({"checks": [finding]}),
    }
    looked = found(url=server.url)
    assert looked["server"].ok
    assert looked["scanner"] == Check("scanner", ok=False, detail="clamd is away.", hint="Start it.")


def test_a_server_of_another_version_is_a_finding(server: FakeServer) -> None:
    server.routes = {("GET", "/api/v1/doctor"): lambda request: Answer.of({"checks": []})}
    looked = found(url=server.url)["server"]
    assert not looked.ok
    assert "Version 0 answers" in looked.detail


def test_a_server_elsewhere_that_is_away_is_a_finding() -> None:
    looked = found(url="http://127.0.0.1:1")
    assert list(looked) == ["settings", "server"]
    assert not looked["server"].ok


def test_the_rules_for_steps_are_found_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[step_rules]]\nspace = 'a'\nsteps = ['delay']\n")
    monkeypatch.setenv("PENSTOCK_STEP_RULES", str(path))
    monkeypatch.setenv("PENSTOCK_STEPS", "")
    looked = found()
    assert looked["steps"].detail == "Somebody answers each of: delay. Rule 1: space 'a' → delay."
    assert looked["scanner"].detail.startswith("Not used")
    path.write_text("[[step_rules]]\nspace = 'a'\nsteps = ['nobody']\n")
    looked = found()
    assert not looked["steps"].ok
    assert "nobody answers step 'nobody'" in looked["steps"].detail
