from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Penstock
from tests.unit.cli.fake_server import Answer, FakeServer, Request

RECORD = {
    "id": "a" * 32, "filename": "scan.pdf", "size": 2048, "step": "ocr", "state": "backoff", "attempt": 3,
    "failures": 2, "next_try_at": "2026-01-02T03:04:05Z", "age_seconds": 65.0, "last_error": "the engine is away",
    "stalled": False, "outcome": "",
}  # fmt: skip


@pytest.fixture
def asked(server: FakeServer, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> list[Request]:
    del clean_environment
    monkeypatch.setenv("PENSTOCK_URL", server.url)
    seen: list[Request] = []

    def answer(document: dict[str, Any]) -> Any:
        def route(request: Request) -> Answer:
            seen.append(request)
            return Answer.of(document)

        return route

    result = {"id": "a", "filename": "f", "action": "x", "step": "ocr", "ok": True, "detail": ""}
    server.routes = {
        ("GET", "/api/v1/postprocessing"): answer({"records": [RECORD, {**RECORD, "id": "b" * 32, "stalled": True}]}),
        ("POST", "/api/v1/postprocessing/resume"): answer({"results": [result]}),
        ("POST", "/api/v1/postprocessing/restart"): answer({"results": [result]}),
    }
    return seen


def test_the_list_has_step_attempt_next_try_error_and_age(penstock: Penstock, asked: list[Request]) -> None:
    listed = penstock("postprocessing", "list")
    assert listed.status == 0
    for text in ("a" * 32, "scan.pdf", "2 KiB", "ocr", "backoff", "3", "1m 5s", "the engine is away", "stalled"):
        assert text in listed.out
    assert penstock("postprocessing", "list", "--json", "-s", "ocr").json[0] == RECORD
    assert asked[-1].query["step"] == "ocr"


def test_an_empty_list_says_so(penstock: Penstock, server: FakeServer, asked: list[Request]) -> None:
    server.routes[("GET", "/api/v1/postprocessing")] = lambda _: Answer.of({"records": []})
    listed = penstock("postprocessing", "list")
    assert (listed.status, listed.out, listed.err) == (0, "", "penstock: no uploads in postprocessing.\n")
    assert penstock("postprocessing", "list", "--json").json == []


def test_what_is_left_out_is_told(penstock: Penstock, server: FakeServer, asked: list[Request]) -> None:
    def some(request: Request) -> Answer:
        asked.append(request)
        return Answer.of({"records": [RECORD], "more": 99_999})

    server.routes[("GET", "/api/v1/postprocessing")] = some
    for arguments in (["--json"], []):
        listed = penstock("postprocessing", "list", "--limit", "1", *arguments)
        assert asked[-1].query["limit"] == "1"
        assert "99999 more are not shown" in listed.err
        assert listed.status == 0


@pytest.mark.parametrize(
    ("arguments", "path", "body"),
    [
        (["resume"], "resume", {}),
        (["resume", "-u", "1"], "resume", {"upload_id": "1"}),
        (["resume", "--step", "finished"], "resume", {"step": "finished"}),
        (["resume", "-u", "1", "-s", "ocr"], "resume", {"upload_id": "1", "step": "ocr"}),
        (["resume", "--restart", "-u", "1"], "restart", {"upload_id": "1"}),
        (["restart"], "restart", {}),
        (["restart", "--upload-id", "1"], "restart", {"upload_id": "1"}),
    ],
)
def test_what_is_asked_of_the_server(
    penstock: Penstock, asked: list[Request], arguments: list[str], path: str, body: dict[str, str]
) -> None:
    assert penstock("postprocessing", *arguments).status == 0
    assert (asked[-1].path, asked[-1].json) == (f"/api/v1/postprocessing/{path}", body)


def test_where_no_server_answers_the_way_to_services_on_nats_is_told(
    penstock: Penstock, monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    del clean_environment
    monkeypatch.setenv("PENSTOCK_URL", "http://127.0.0.1:1")
    listed = penstock("postprocessing", "list")
    assert listed.status == 2
    for way in ("penstock serve", "--url", "--bus nats", "OCIS_EVENTS_ENDPOINT", "OC_EVENTS_ENDPOINT"):
        assert way in listed.err
