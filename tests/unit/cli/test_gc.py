"""What `penstock uploads gc` asks, and the status that it ends with."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.cli.conftest import Penstock
from tests.unit.cli.fake_server import Answer, FakeServer, Request

NOTHING: dict[str, Any] = {
    "totals": [], "finds": [], "found": 0, "size_bytes": 0, "done": 0, "freed_bytes": 0, "kept": 0, "failed": 0,
    "looked_at": 7, "notes": [], "remarks": [],
}  # fmt: skip


@pytest.fixture
def reports(server: FakeServer, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> list[dict[str, Any]]:
    """What the server reports, one after the other; somebody sits at the terminal."""
    del clean_environment
    found: list[dict[str, Any]] = []

    def collect(request: Request) -> Answer:
        line = json.dumps({"report": NOTHING | found.pop(0) | {"dry_run": request.json["dry_run"]}})
        return Answer(200, line.encode() + b"\n", {"Content-Type": "application/x-ndjson"})

    server.routes = {("POST", "/api/v1/uploads/gc"): collect}
    monkeypatch.setenv("PENSTOCK_URL", server.url)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    return found


@pytest.mark.parametrize(
    ("found", "status"), [({}, 0), ({"failed": 1, "kept": 1}, 4), ({"notes": ["Not all was looked at: away"]}, 4)]
)
def test_where_nothing_can_be_removed_nobody_is_asked_but_trouble_is_told(
    penstock: Penstock, server: FakeServer, reports: list[dict[str, Any]], found: dict[str, Any], status: int
) -> None:
    reports.append(found)
    ended = penstock("uploads", "gc")
    assert ended.status == status
    assert [request.json["dry_run"] for request in server.asked("POST")] == [True]


@pytest.mark.parametrize(("done", "status"), [(2, 0), (1, 4)])
def test_what_is_left_is_told(
    penstock: Penstock, server: FakeServer, reports: list[dict[str, Any]], done: int, status: int
) -> None:
    reports += [{"found": 2}, {"found": 2, "done": done}]
    assert penstock("uploads", "gc").status == status
    assert [request.json["dry_run"] for request in server.asked("POST")] == [True, False]
