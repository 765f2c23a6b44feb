from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.fake_server import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Penstock
    from tests.unit.cli.fake_server import FakeServer


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", ["../elsewhere", "{outside}/elsewhere", "..", ""])
def test_a_server_does_not_choose_the_folder(penstock: Penstock, server: FakeServer, here: Path, name: str) -> None:
    name = name.format(outside=here.parent)
    server.routes = {
        ("GET", "/api/v1/paths/stat"): lambda _: Answer.of({"name": name, "size": 3, "content": "/file"}),
        ("GET", "/file"): lambda _: Answer(200, b"bad"),
    }
    ended = penstock("files", "get", "a.txt", "--url", server.url)
    assert ended.status == 2
    assert "file name" in ended.err
    assert [path.name for path in here.parent.rglob("*")] == ["here"]


def test_a_file_may_be_named_like_standard_output(penstock: Penstock, server: FakeServer, here: Path) -> None:
    server.routes = {
        ("GET", "/api/v1/paths/stat"): lambda _: Answer.of({"name": "-", "size": 3, "content": "/file"}),
        ("GET", "/file"): lambda _: Answer(200, b"yes"),
    }
    assert penstock("files", "get", "-", "--url", server.url).status == 0
    assert (here / "-").read_bytes() == b"yes"


@pytest.fixture
def served(server: FakeServer) -> FakeServer:
    server.routes = {
        ("GET", "/api/v1/paths/stat"): lambda _: Answer.of({"name": "a.txt", "size": 3, "content": "/file"}),
        ("GET", "/file"): lambda _: Answer(200, b"yes"),
    }
    return server


def test_a_file_goes_into_the_folder_that_is_named(penstock: Penstock, served: FakeServer, here: Path) -> None:
    assert penstock("files", "get", "b/a.txt", "-o", str(here), "--url", served.url).status == 0
    assert (here / "a.txt").read_bytes() == b"yes"


@pytest.mark.parametrize(
    ("where", "why"), [("nowhere/a.txt", "No such file or directory"), ("a.txt/b.txt", "Not a directory")]
)
def test_what_cannot_be_written_is_said(
    penstock: Penstock, served: FakeServer, here: Path, where: str, why: str
) -> None:
    (here / "a.txt").touch()
    ended = penstock("files", "get", "a.txt", "--output", where, "--url", served.url)
    assert ended.status == 2
    assert ended.err == f"penstock: {where} cannot be written: {why}. Name another file with --output.\n"
