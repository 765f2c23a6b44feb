from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from penstock.cli import show

ROWS = [
    ("a" * 32, "file.bin", "processing", "", "an error that takes some words to explain"),
    ("b" * 32, "f", "", "", ""),
]
COLUMNS = ("upload", "file", "phase", "next try", "last error")


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, highlight=False, color_system=None)
    monkeypatch.setattr(show, "_console", lambda: console)
    show.print_table(COLUMNS, ROWS)
    return screen.getvalue()


def test_a_pipe_gets_a_line_per_row_with_all_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table(COLUMNS, ROWS)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0].strip() == "upload"
    assert "next try" in head
    assert first.index("file.bin") == head.index("file") == second.index("f")
    assert first.endswith("an error that takes some words to explain")


def test_wide_characters_keep_the_columns_in_line(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table(("a", "b"), [("日本", "x"), ("1234", "y")])
    assert capsys.readouterr().out.splitlines()[1:] == ["日本  x", "1234  y"]


def test_a_terminal_gets_no_empty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, 120)
    assert "next try" not in shown
    assert "a" * 32 in shown
    assert "last error" in shown


def test_a_terminal_that_is_too_narrow_gets_a_block_per_row(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, 40)
    assert "a" * 32 in shown  # an ID that is cut in two cannot be copied
    assert "phase       processing" in shown
    assert "last error  an error that takes some words to explain" in shown


def test_an_empty_table_has_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table(COLUMNS, [])
    assert "last error" in capsys.readouterr().out


@given(st.text())
def test_nothing_that_is_shown_plays_with_the_terminal(text: str) -> None:
    assert show.plain(text).isprintable()


def test_escapes_are_seen() -> None:
    assert show.plain("a\x1b[31mb\nc\u202ed caf\udce9") == "a\\x1b[31mb\\nc\\u202ed caf\\udce9"
    assert show.plain("Übung 日本 [x] ✓") == "Übung 日本 [x] ✓"


def test_complaints_say_who_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    show.complain("no\x07 server")
    assert capsys.readouterr().err == "penstock: no\\x07 server\n"


@pytest.mark.parametrize("value", [{"name": "Übung"}, ["caf\udce9"], [], {"a": None, "b": [1, 2.5, True]}])
def test_json_is_one_document_that_reads_back(value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    show.print_json(value)
    assert json.loads(capsys.readouterr().out) == value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0s"), (0.9, "0s"), (-5, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (3600, "1h"), (3605, "1h")),
        *((3660, "1h 1m"), (86400, "1d"), (90061, "1d 1h"), (86400 * 400, "400d")),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert show.age(seconds) == text


def test_moments_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        assert show.moment("2026-01-02T03:04:05Z") == "2026-01-02 05:04:05"
    finally:
        monkeypatch.undo()
        time.tzset()
    assert show.moment(None) == ""
    assert show.moment("") == ""
    assert show.moment("0001-01-01T00:00:00Z") == ""


def test_sizes() -> None:
    assert show.size(None) == ""
    assert show.size(1536) == "1.5 KiB"


@pytest.mark.parametrize("rows", [[], [{"a": 1}], [{"a": "\u00fc", "b": [1, None]}, {"c": {}, "d": "x\ny"}]])
def test_rows_come_out_as_the_same_document(rows: list[dict[str, Any]], capfdbinary: Any) -> None:
    for key, whole in ((None, rows), ("results", {"results": rows})):
        document = show.JsonRows(key)
        for row in rows:
            document.add(row)
        document.end()
        printed = capfdbinary.readouterr().out
        show.print_json(whole)
        assert printed == capfdbinary.readouterr().out


def test_a_row_with_a_name_that_is_no_text(capfdbinary: Any) -> None:
    document = show.JsonRows()
    document.add({"filename": "caf\udce9"})
    document.end()
    assert b"\\udce9" in capfdbinary.readouterr().out


def test_very_many_rows_are_not_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(force_terminal=True, width=200)
    monkeypatch.setattr(show, "_console", lambda: console)
    show.print_table(("id",), [(str(number),) for number in range(5000)])
    assert capsys.readouterr().out.splitlines() == ["id", *(str(number) for number in range(5000))]
