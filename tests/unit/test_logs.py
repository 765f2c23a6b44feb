from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from penstock.errors import ConfigurationError
from penstock.logs import configure


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_lines_go_to_the_file_and_to_a_new_one_when_it_was_moved_away(tmp_path: Path) -> None:
    file = tmp_path / "penstock.log"
    configure("info", "auto", file=file)
    log = structlog.get_logger()
    log.info("first", upload="1")
    file.rename(tmp_path / "penstock.log.1")
    log.info("second")
    log.debug("unseen")
    assert json.loads((tmp_path / "penstock.log.1").read_text())["upload"] == "1"
    lines = file.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["second"]


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"log_file={tmp_path}"):
        configure("info", "auto", file=tmp_path)


def test_where_the_file_cannot_be_written_any_more_lines_go_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "folder" / "log"
    file.parent.mkdir()
    configure("info", "json", file=file)
    file.unlink()
    file.parent.rmdir()
    structlog.get_logger().info("kept")
    assert json.loads(capsys.readouterr().err)["event"] == "kept"


@pytest.mark.parametrize(("color", "coloured"), [("always", True), ("never", False), ("auto", False)])
def test_colour_is_as_asked_for(color: str, coloured: bool, tmp_path: Path) -> None:
    file = tmp_path / "log"
    configure("info", "text", color=color, file=file)
    structlog.get_logger().info("something")
    assert ("\x1b[" in file.read_text()) is coloured


@pytest.mark.parametrize("style", ["text", "json"])
def test_the_values_of_variables_stay_out_of_traces(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", style)
    try:
        _connect("hunter2"[::-1])
    except ConnectionError:
        structlog.get_logger().exception("it_failed")
    said = capsys.readouterr().err
    assert "no such host" in said
    assert "_connect" in said
    assert "2retnuh" not in said


def _connect(password: str) -> None:
    raise ConnectionError(f"no such host, with a password of {len(password)} characters")
