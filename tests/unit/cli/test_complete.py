from __future__ import annotations

import pytest

from penstock.cli import complete
from tests.unit.cli.fake_server import Answer, FakeServer

RECORDS = {
    "records": [{"id": "ab1", "filename": "a", "step": "ocr"}, {"id": "cd2", "filename": "c", "step": "virusscan"}]
}


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
    assert complete.steps("") == ["finished", "ocr", "virusscan"]
    assert complete.steps("o") == ["ocr"]
    assert complete.records("a") == [("ab1", "a")]
    assert complete.sessions("") == [("ef3", "e")]
    assert complete.sessions("x") == []
    assert complete.quarantined("q") == [("q1", "q")]


def test_scanners_are_offered_each_once() -> None:
    assert complete.scanners("") == ["clamav", "icap", "yara"]
    assert complete.scanners("y") == ["yara"]
    assert complete.scanners("clamav,") == ["clamav,icap", "clamav,yara"]


def test_without_a_server_nothing_is_offered_and_nothing_said(
    server: FakeServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    assert complete.records("") == []
    assert complete.steps("") == ["finished"]
    assert capfd.readouterr() == ("", "")


def test_with_wrong_settings_nothing_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_NONSENSE", "1")
    assert complete.sessions("") == []
