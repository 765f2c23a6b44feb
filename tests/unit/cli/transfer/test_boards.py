from __future__ import annotations

import io

import pytest
from rich.console import Console

from penstock.cli.transfer import boards
from penstock.cli.transfer.boards import Lines, board_for
from penstock.cli.transfer.job import Board, Result


def play(board: Board, count: int) -> None:
    for place in range(count):
        board.began(place, f"evil\x1b[31m{place}.bin", 2000)
        board.moved(place, 1000)
        board.troubled(place, f"file{place}.bin", "connection refused")
        board.told(place, "[bold]virusscan[/]")
        phase = "released" if place else ""
        board.ended(place, Result(f"file{place}.bin", 2000, phase=phase, error="" if place else "gave up"))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    screen = io.StringIO()

    def console(**options: object) -> Console:
        del options
        return Console(file=screen, force_terminal=True, width=200, highlight=False)

    monkeypatch.setattr(boards, "Console", console)
    return screen


def test_a_terminal_gets_bars(terminal: io.StringIO) -> None:
    with board_for(2) as board:
        play(board, 2)
    shown = terminal.getvalue()
    assert "\x1b[31m0.bin" not in shown  # a name does not get to colour the screen
    assert "evil\\x1b[31m0.bin" in shown
    assert "failed" in shown
    assert "released" in shown


def test_with_many_files_those_that_are_through_make_way(terminal: io.StringIO) -> None:
    with board_for(50) as board:
        play(board, 50)
    shown = terminal.getvalue()
    assert "file0.bin: failed" in shown
    assert "file49.bin: released" in shown
    assert "2.0/2.0" not in shown[-200:]


def test_a_file_that_never_began_ends_too(terminal: io.StringIO) -> None:
    with board_for(50) as board:
        board.ended(0, Result("gone.bin", error="there is no such file"))
    with board_for(1) as board:
        board.ended(0, Result("gone.bin", error="there is no such file"))
    assert terminal.getvalue().count("gone.bin: failed") == 1


def test_a_pipe_gets_a_line_for_each_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    with board_for(1) as board:
        assert isinstance(board, Lines)
        for _ in range(3):
            board.troubled(0, "file.bin", "connection refused")
        board.moved(0, 5)
        board.troubled(0, "file.bin", "connection refused")
        board.told(0, "virusscan")
        board.began(1, "other.bin", 5)
        board.ended(0, Result("file.bin"))
    assert capsys.readouterr().err == "penstock: file.bin: connection refused; trying again\n" * 2
