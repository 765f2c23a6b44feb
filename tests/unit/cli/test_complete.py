from __future__ import annotations

from pathlib import Path

import pytest
import typer
import typer.main

from penstock.cli import complete
from penstock.cli.main import build
from tests.unit.cli.fake_server import Answer, FakeServer

RECORDS = {
    "records": [{"id": "ab1", "filename": "a", "step": "ocr"}, {"id": "cd2", "filename": "c", "step": "virusscan"}]
}


def typed(**parameters: object) -> typer.Context:
    """What stands before the word that is completed."""
    context = typer.Context(typer.main.get_command(build("doctor")))
    context.params.update(parameters)
    return context


NOTHING = typed()


@pytest.fixture(autouse=True)
def offered(server: FakeServer, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del clean_environment
    monkeypatch.setenv("PENSTOCK_URL", server.url)
    monkeypatch.setattr(complete, "_PATIENCE_SECONDS", 60.0)
    server.routes = {
        ("GET", "/api/v1/postprocessing"): lambda request: Answer.of(RECORDS),
        ("GET", "/api/v1/antivirus/quarantine"): lambda request: Answer.of(
            {"uploads": [{"id": "q1", "filename": "q"}]}
        ),
        ("GET", "/api/v1/uploads"): lambda request: Answer.of({"uploads": [{"id": "ef3", "filename": "e"}]}),
    }


def test_what_begins_so_is_offered() -> None:
    assert complete.steps(NOTHING, "") == ["finished", "ocr", "virusscan"]
    assert complete.steps(NOTHING, "o") == ["ocr"]
    assert complete.records(NOTHING, "a") == [("ab1", "a")]
    assert complete.sessions(NOTHING, "") == [("ef3", "e")]
    assert complete.sessions(NOTHING, "x") == []
    assert complete.quarantined(NOTHING, "q") == [("q1", "q")]


def test_the_server_is_the_one_that_was_named_before(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_URL")
    assert complete.sessions(typed(url=server.url), "") == [("ef3", "e")]
    (tmp_path / "here.toml").write_text(f'url = "{server.url}"')
    assert complete.sessions(typed(config=tmp_path / "here.toml"), "") == [("ef3", "e")]


def test_scanners_are_offered_each_once() -> None:
    assert complete.scanners("") == ["clamav", "icap", "yara"]
    assert complete.scanners("y") == ["yara"]
    assert complete.scanners("clamav,") == ["clamav,icap", "clamav,yara"]


def test_without_a_server_nothing_is_offered_and_nothing_said(
    server: FakeServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    assert complete.records(NOTHING, "") == []
    assert complete.steps(NOTHING, "") == ["finished"]
    assert capfd.readouterr() == ("", "")


def test_with_wrong_settings_nothing_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_NONSENSE", "1")
    assert complete.sessions(NOTHING, "") == []
