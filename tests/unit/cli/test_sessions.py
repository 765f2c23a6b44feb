from __future__ import annotations

import sys
from typing import Any

import pytest

from penstock.cli.sessions import with_values
from tests.unit.cli.conftest import Penstock
from tests.unit.cli.fake_server import Answer, FakeServer, Request, Upload

RUN = {
    "step": "ocr", "steps": ["ocr"], "state": "backoff", "attempt": 3, "failures": 2,
    "next_try_at": "2026-01-02T03:04:05Z", "started_at": None, "step_started_at": None, "last_error": "engine away",
    "fraction": None, "stalled": True,
}  # fmt: skip


class Sessions:
    """The part of the server that lists and acts."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.requests: list[Request] = []
        self.uploads = [Upload(mark * 32, 2048, {"filename": f"{mark}.pdf", "space": "lab"}) for mark in "ab"]
        self.uploads[0].phase, self.uploads[0].processing = "processing", RUN
        self.uploads[1].phase = "rejected"
        self.uploads[1].scan = {
            "infected": True,
            "signature": "EICAR",
            "scanned_at": "2026-01-02T03:04:05Z",
            "error": "",
        }
        self.gone: set[str] = set()
        server.routes = {("GET", "/api/v1/uploads"): self.listed, ("POST", "/api/v1/uploads/actions"): self.act}

    def listed(self, request: Request) -> Answer:
        self.requests.append(request)
        return Answer.of({"uploads": [upload.view() for upload in self.uploads], "next": None})

    def act(self, request: Request) -> Answer:
        self.requests.append(request)
        chosen = [one for one in self.uploads if request.json.get("id") in (None, one.id) and one.id not in self.gone]
        action = request.json["action"]
        return Answer.of(
            {
                "results": [
                    {"id": one.id, "filename": "f", "action": action, "step": "", "ok": True, "detail": ""}
                    for one in chosen
                ]
            }
        )

    @property
    def acted(self) -> list[dict[str, Any]]:
        return [request.json for request in self.requests if request.method == "POST"]


@pytest.fixture
def known(server: FakeServer, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Sessions:
    del clean_environment
    monkeypatch.setenv("PENSTOCK_URL", server.url)
    return Sessions(server)


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sits at the terminal and answers what is asked."""
    answers: list[str] = []

    class Keyboard:
        def isatty(self) -> bool:
            return True

        def readline(self, *_: object) -> str:
            return answers.pop(0) + "\n"

    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr("typer.confirm", lambda text, **_: answers.pop(0) == "y")
    return answers


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        ([], []),
        (["--processing"], ["--processing=true"]),
        (["--processing", "--expired", "--json"], ["--processing=true", "--expired=true", "--json"]),
        (["--processing=false"], ["--processing=false"]),
        (["--processing", "false", "--has-virus"], ["--processing", "false", "--has-virus=true"]),
        (["--has-virus", "true"], ["--has-virus", "true"]),
        (["--id", "x"], ["--id", "x"]),
    ],
)
def test_filters_may_stand_alone_as_in_ocis(arguments: list[str], whole: list[str]) -> None:
    assert with_values(arguments) == whole


@pytest.mark.parametrize("group", [("uploads",), ("storage-users", "uploads")])
def test_filters_reach_the_server(penstock: Penstock, known: Sessions, group: tuple[str, ...]) -> None:
    assert penstock(*group, "sessions", "--processing=false", "--has-virus", "--id", "x").status == 0
    query = known.requests[0].query
    assert {name: query.get(name) for name in ("sessions", "processing", "expired", "has_virus", "id")} == {
        "sessions": "true",
        "processing": "false",
        "expired": None,
        "has_virus": "true",
        "id": "x",
    }


def test_a_filter_that_is_neither_is_told(penstock: Penstock, known: Sessions) -> None:
    ended = penstock("uploads", "sessions", "--processing=maybe")
    assert ended.status == 2
    assert ended.err == (
        "penstock: --processing=maybe: neither true nor false. Write --processing=true or --processing=false.\n"
    )
    assert known.requests == []


def test_the_table_has_what_operators_need(penstock: Penstock, known: Sessions) -> None:
    del known
    head, first, second = penstock("uploads", "sessions").out.splitlines()
    for column in ("upload id", "name", "space", "step", "attempt", "next try", "offset", "size", "age", "expires"):
        assert column in head
    for column in ("processing", "scan date", "scan result", "last error"):
        assert column in head
    for text in ("a" * 32, "a.pdf", "lab", "ocr (stalled)", "3", "1m 5s", "engine away"):
        assert text in first
    assert "infected: EICAR" in second


def test_how_far_a_release_is_stands_in_the_place_of_its_step(penstock: Penstock, known: Sessions) -> None:
    known.uploads[0].releasing = {"stage": "copying", "done": 600, "size": 2048, "fraction": 0.439}
    assert "being released 43% (copying)" in penstock("uploads", "sessions").out.splitlines()[1]
    assert penstock("uploads", "sessions", "--json").json[0]["releasing"]["stage"] == "copying"


def test_the_json_has_the_keys_that_ocis_has_and_more(penstock: Penstock, known: Sessions) -> None:
    del known
    first, second = penstock("uploads", "sessions", "--json").json
    assert (first["id"], first["processing"], first["size"], first["offset"]) == ("a" * 32, True, 2048, 0)
    assert (first["step"], first["attempt"], first["last_error"], first["stalled"]) == ("ocr", 3, "engine away", True)
    assert (second["processing"], second["virus_scan_result"]) == (False, "infected: EICAR")
    assert second["virus_scan_date"] == "2026-01-02T03:04:05Z"
    assert second["virus_scan"]["signature"] == "EICAR"
    assert first["virus_scan_date"] is None
    assert list(first)[:9] == [
        "id", "space", "filename", "offset", "size", "expires", "processing", "virus_scan_date", "virus_scan_result",
    ]  # fmt: skip


def test_no_uploads_is_said(penstock: Penstock, known: Sessions) -> None:
    known.uploads = []
    assert penstock("uploads", "sessions").err == "penstock: no uploads.\n"
    assert penstock("uploads", "sessions", "--json").json == []


@pytest.mark.parametrize("action", ["resume", "restart"])
def test_actions_go_to_the_server_with_the_filters(penstock: Penstock, known: Sessions, action: str) -> None:
    ended = penstock("uploads", "sessions", f"--{action}", "--expired=false")
    assert ended.status == 0
    assert known.acted == [{"action": action, "dry_run": False, "expired": False}]
    assert "a" * 32 in ended.out


def test_a_dry_run_says_so(penstock: Penstock, known: Sessions) -> None:
    assert penstock("uploads", "sessions", "--clean", "--dry-run").status == 0
    assert known.acted == [{"action": "clean", "dry_run": True}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume", "--clean"], "--resume and --clean do not go together. Choose one."),
        (["--yes"], "--dry-run and --yes go with an action. Add --resume, --restart or --clean."),
        (["--clean"], "--clean removes bytes for good, and there is nobody to ask. Look with --dry-run, add --yes."),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_done(
    penstock: Penstock, known: Sessions, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    ended = penstock("uploads", "sessions", *arguments)
    assert (ended.status, ended.err) == (2, f"penstock: {said}\n")
    assert known.acted == []


def test_cleaning_asks_and_removes_exactly_what_was_shown(
    penstock: Penstock, known: Sessions, somebody: list[str]
) -> None:
    somebody.append("y")
    ended = penstock("uploads", "sessions", "--clean", "--has-virus=false")
    assert ended.status == 0
    assert known.acted == [
        {"action": "clean", "has_virus": False, "id": "a" * 32},
        {"action": "clean", "has_virus": False, "id": "b" * 32},
    ]
    assert "a.pdf" in ended.out


def test_cleaning_takes_no_for_an_answer(penstock: Penstock, known: Sessions, somebody: list[str]) -> None:
    somebody.append("n")
    ended = penstock("uploads", "sessions", "--clean")
    assert (ended.status, ended.err) == (1, "penstock: nothing was removed.\n")
    assert known.acted == []


def test_what_changed_while_somebody_thought_is_left_alone_and_told(
    penstock: Penstock, known: Sessions, somebody: list[str]
) -> None:
    somebody.append("y")
    known.gone = {"b" * 32}
    ended = penstock("uploads", "sessions", "--clean")
    assert ended.status == 4
    assert "it has changed meanwhile" in ended.out


def test_nothing_to_clean_asks_nothing(penstock: Penstock, known: Sessions, somebody: list[str]) -> None:
    known.uploads = []
    assert penstock("uploads", "sessions", "--clean").status == 3
    assert somebody == []


def test_with_yes_nobody_is_asked(penstock: Penstock, known: Sessions) -> None:
    assert penstock("uploads", "sessions", "--clean", "--yes").status == 0
    assert known.acted == [{"action": "clean", "dry_run": False}]


def test_the_names_of_older_versions_work_with_a_warning(penstock: Penstock, known: Sessions) -> None:
    listed = penstock("storage-users", "uploads", "list")
    assert listed.err == "penstock: `uploads list` is deprecated. Use `uploads sessions`.\n"
    assert "a" * 32 in listed.out
    cleaned = penstock("storage-users", "uploads", "clean")
    assert "`uploads clean` is deprecated" in cleaned.err
    assert known.acted == [{"action": "clean", "expired": True}]
