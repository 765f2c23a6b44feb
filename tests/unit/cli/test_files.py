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
