from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.cli.transfer.sources import Fingerprint, Source, sources_of
from penstock.errors import InvalidRequest


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    for name in ("tree/b.txt", "tree/a.txt", "tree/deep/c.txt", "single.txt"):
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_come_in_order_and_once(tree: Path) -> None:
    paths = [Path("single.txt"), tree / "single.txt", Path("tree/a.txt"), Path("tree")]
    found = sources_of(paths, recursive=True)
    assert [source.shown for source in found] == ["single.txt", "tree/a.txt", "tree/b.txt", "tree/deep/c.txt"]
    assert all(source.path.is_absolute() for source in found)


def test_files_in_folders_know_where_they_lie(tree: Path) -> None:
    del tree
    found = sources_of([Path("tree"), Path("single.txt")], recursive=True)
    assert [source.relative for source in found] == ["tree/a.txt", "tree/b.txt", "tree/deep/c.txt", ""]
    assert [source.place for source in found] == ["tree/a.txt", "tree/b.txt", "tree/deep/c.txt", "single.txt"]


@pytest.mark.parametrize("folder", [".", "..", "../tree", "deep/.."])
def test_a_folder_may_be_named_from_inside(tree: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tree / "tree")
    found = sources_of([Path(folder)], recursive=True, into="/a/b")
    below = {".": "", "..": "tree/", "../tree": "tree/", "deep/..": ""}[folder]
    assert f"a/b/{below}deep/c.txt" in [source.place for source in found]
    assert all(".." not in source.place for source in found)


def test_all_that_cannot_be_sent_is_told(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(InvalidRequest) as error:
        sources_of([Path("tree"), Path("nothing"), Path("pipe"), Path("single.txt/x")], recursive=False)
    assert str(error.value).splitlines() == [
        "tree is a folder. Add --recursive to upload all files in it.",
        "nothing: there is no such file",
        "pipe is neither a file nor a folder. Name a file.",
        "single.txt/x cannot be read: Not a directory",
    ]


def test_what_is_no_file_in_a_folder_is_passed_over(tree: Path) -> None:
    os.mkfifo(tree / "tree" / "pipe")
    (tree / "tree" / "broken").symlink_to("nowhere")
    assert [source.path.name for source in sources_of([Path("tree")], recursive=True)] == ["a.txt", "b.txt", "c.txt"]


def test_a_fingerprint_tells_a_changed_file(tree: Path) -> None:
    source = Source(tree / "single.txt", "single.txt")
    before = source.fingerprint()
    assert source.fingerprint() == before
    (tree / "single.txt").write_text("changed.txt")
    assert source.fingerprint() != before
    assert before == Fingerprint(10, before.modified_ns, before.inode, before.device)


def test_a_file_that_is_gone_is_told(tree: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"gone\.txt: there is no such file"):
        Source(tree / "gone.txt", "gone.txt").fingerprint()
