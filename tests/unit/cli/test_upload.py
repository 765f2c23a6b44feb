from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Penstock
from tests.unit.cli.fake_server import Answer, FakeServer, Fault, Upload


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(b"x" * 5000)
    return path


def infect(server: FakeServer) -> None:
    def find(upload: Upload) -> None:
        if "virus" in upload.metadata["filename"]:
            upload.scan = {"infected": True, "signature": "EICAR", "scanned_at": "", "error": ""}
            server.end(upload, "deleted", "infected")
        else:
            server.end(upload, "released")

    server.received = find


def test_all_released_is_status_0(penstock: Penstock, server: FakeServer, file: Path) -> None:
    ended = penstock("upload", "--wait", "--space", "lab", "--url", server.url, file)
    (upload,) = server.uploads.values()
    assert ended.status == 0, ended.err
    assert ended.err == ""
    head, row = ended.out.splitlines()
    assert head.split() == ["file", "size", "upload", "phase", "remark"]
    assert row.split() == [str(file), "4.88", "KiB", upload.id, "released"]
    assert upload.metadata["space"] == "lab"


def test_one_rejected_is_status_1(penstock: Penstock, server: FakeServer, file: Path, tmp_path: Path) -> None:
    infect(server)
    (tmp_path / "virus.bin").write_bytes(b"x")
    ended = penstock("upload", "--wait", "--url", server.url, "--json", file, tmp_path / "virus.bin")
    assert ended.status == 1
    first, second = ended.json
    assert first["phase"] == "released"
    assert second == {
        "file": str(tmp_path / "virus.bin"), "size": 1, "upload": second["upload"], "phase": "deleted",
        "reason": "infected", "signature": "EICAR", "error": None,
    }  # fmt: skip
    shown = penstock("upload", "--wait", "--url", server.url, tmp_path / "virus.bin")
    assert shown.out.rstrip().endswith("EICAR; infected")


def test_without_waiting_arrived_is_enough(penstock: Penstock, server: FakeServer, tmp_path: Path) -> None:
    infect(server)
    (tmp_path / "virus.bin").write_bytes(b"x")
    assert penstock("upload", "--url", server.url, tmp_path / "virus.bin").status == 0


def test_one_not_sent_is_status_2_and_says_why(
    penstock: Penstock, server: FakeServer, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.bin").write_bytes(b"y")
    server.faults = [Fault("POST", "/uploads/", Answer.problem(413, "too large: at most 10 bytes"))]
    ended = penstock("upload", "--wait", "--parallel", "1", "--url", server.url, file, tmp_path / "other.bin")
    assert ended.status == 2
    assert ended.err == f"penstock: {file}: too large: at most 10 bytes\n"
    assert "see below" in ended.out
    assert "released" in ended.out


def test_a_folder_needs_to_be_meant(penstock: Penstock, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    refused = penstock("upload", "--url", server.url, "folder")
    assert (refused.status, refused.err) == (
        2,
        "penstock: folder is a folder. Add --recursive to upload all files in it.\n",
    )
    assert server.requests == []
    assert penstock("upload", "--url", server.url, "--recursive", "folder").status == 0
    (upload,) = server.uploads.values()
    assert upload.metadata["path"] == "folder/a.txt"
    assert upload.metadata["filetype"] == "text/plain"


def test_a_file_goes_into_a_folder_of_the_server(penstock: Penstock, server: FakeServer, file: Path) -> None:
    for into in ("docs", "/docs/2026/"):
        assert penstock("upload", "--url", server.url, "--into", into, file).status == 0
    paths = [upload.metadata["path"] for upload in server.uploads.values()]
    assert paths == [f"docs/{file.name}", f"docs/2026/{file.name}"]
    assert penstock("upload", "--url", server.url, file).status == 0
    assert "path" not in list(server.uploads.values())[-1].metadata
    (first, *_) = server.uploads
    refused = penstock("upload", "--url", server.url, "--into", "docs", "--continue", first, file)
    assert (refused.status, "was said when it was begun" in refused.err) == (2, True)


def test_no_server_is_one_line_at_once(penstock: Penstock, server: FakeServer, file: Path) -> None:
    server.stop()
    ended = penstock("upload", "--url", server.url, file)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "Start it with `penstock serve`" in ended.err


def test_a_patience_that_is_no_duration_is_told(penstock: Penstock, file: Path) -> None:
    ended = penstock("upload", "--patience", "300", file)
    assert (ended.status, ended.err) == (
        2,
        "penstock: --patience 300: a number without a unit. Write a number with a unit, such as 5s or 1m30s.\n",
    )


def test_patience_is_how_long_it_tries(penstock: Penstock, server: FakeServer, file: Path) -> None:
    server.faults = [Fault("POST", "/uploads/", Answer.problem(503, "busy")) for _ in range(100)]
    ended = penstock("upload", "--patience", "1s", "--url", server.url, file)
    assert ended.status == 2
    assert "penstock: " + str(file) + ": busy; trying again\n" in ended.err
    assert "no progress for 1s: busy. Run the same command again to go on." in ended.err


def test_what_cannot_be_remembered_is_told_and_sent_all_the_same(
    penstock: Penstock, server: FakeServer, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(file))
    ended = penstock("upload", "--url", server.url, file)
    assert ended.status == 0
    assert "unfinished uploads are not remembered" in ended.err


def test_a_name_that_is_no_text_is_shown_escaped(penstock: Penstock, server: FakeServer, tmp_path: Path) -> None:
    odd = tmp_path / "caf\udce9\x1b[31m.txt"
    odd.write_bytes(b"x")
    ended = penstock("upload", "--wait", "--url", server.url, odd)
    assert ended.status == 0
    assert "caf\\udce9\\x1b[31m.txt" in ended.out
    (upload,) = server.uploads.values()
    assert upload.metadata["filename"] == "caf\udce9\x1b[31m.txt"
