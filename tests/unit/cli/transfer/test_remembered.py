from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

import pytest

from penstock.cli.transfer.remembered import AlreadySending, Memory, state_folder
from penstock.cli.transfer.sources import Source

UPLOAD = "http://127.0.0.1:8080/uploads/1"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    file = tmp_path / "file.bin"
    file.write_bytes(b"12345")
    return Source(file, "file.bin")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "penstock" / "uploads"


def entries(folder: Path) -> list[Path]:
    return list(folder.glob("*.json"))


def test_what_is_noted_is_there_in_the_next_run(folder: Path, source: Source) -> None:
    fingerprint = source.fingerprint()
    with Memory("http://a", folder).claim(source, space="s") as claim:
        assert claim.upload_of(fingerprint) is None
        claim.note(source, fingerprint, UPLOAD + "x" * 100)
        claim.note(source, fingerprint, UPLOAD)
    with Memory("http://a", folder).claim(source, space="s") as claim:
        assert claim.upload_of(fingerprint) == UPLOAD
        claim.forget()
        assert claim.upload is None
    assert entries(folder) == []


def test_another_server_space_or_file_is_another_upload(folder: Path, source: Source, tmp_path: Path) -> None:
    other = Source(tmp_path / "other.bin", "other.bin")
    with Memory("http://a", folder).claim(source, space="s") as claim:
        claim.note(source, source.fingerprint(), UPLOAD)
        for server, file, space in (("http://b", source, "s"), ("http://a", source, "t"), ("http://a", other, "s")):
            with Memory(server, folder).claim(file, space=space) as another:
                assert another.upload is None


def test_a_changed_file_is_another_upload_whose_old_one_is_known(folder: Path, source: Source) -> None:
    memory = Memory("http://a", folder)
    with memory.claim(source, space="s") as claim:
        claim.note(source, source.fingerprint(), UPLOAD)
    os.utime(source.path, ns=(0, 0))
    with memory.claim(source, space="s") as claim:
        assert claim.upload_of(source.fingerprint()) is None
        assert claim.upload == UPLOAD


def test_a_copy_in_its_place_is_the_same_upload(folder: Path, source: Source) -> None:
    memory, before = Memory("http://a", folder), source.fingerprint()
    with memory.claim(source, space="s") as claim:
        claim.note(source, before, UPLOAD)
    copy = source.path.with_name("copy")
    copy.write_bytes(source.path.read_bytes())
    os.utime(copy, ns=(before.modified_ns, before.modified_ns))
    copy.rename(source.path)
    with memory.claim(source, space="s") as claim:
        assert claim.upload_of(source.fingerprint()) == UPLOAD


def test_one_file_is_sent_by_one_command(folder: Path, source: Source) -> None:
    memory = Memory("http://a", folder)
    with memory.claim(source, space="s") as claim:
        claim.note(source, source.fingerprint(), UPLOAD)
        with pytest.raises(AlreadySending, match=r"file\.bin: another .* is sending this file to http://a"):
            memory.claim(source, space="s")
    memory.claim(source, space="s").close()


def test_what_is_noted_after_forgetting_is_there_in_the_next_run(folder: Path, source: Source) -> None:
    memory = Memory("http://a", folder)
    with memory.claim(source, space="s") as claim:
        claim.note(source, source.fingerprint(), UPLOAD)
        claim.forget()
        claim.note(source, source.fingerprint(), UPLOAD + "2")
    with memory.claim(source, space="s") as claim:
        assert claim.upload == UPLOAD + "2"


def test_a_note_that_goes_while_we_wait_for_it_is_begun_anew(
    folder: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory("http://a", folder)
    lock = fcntl.flock

    def lose(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        lock(descriptor, how)
        entries(folder)[0].unlink()  # as whoever had it does in the moment before giving it back

    monkeypatch.setattr(fcntl, "flock", lose)
    with memory.claim(source, space="s") as claim:
        claim.note(source, source.fingerprint(), UPLOAD)
    assert len(entries(folder)) == 1
    with memory.claim(source, space="s") as claim:
        assert claim.upload == UPLOAD


def test_nothing_is_left_of_what_was_never_begun(folder: Path, source: Source) -> None:
    Memory("http://a", folder).claim(source, space="s").close()
    assert entries(folder) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"upload": 5}', b"\xff\xfe"])
def test_a_damaged_note_is_none(folder: Path, source: Source, content: bytes) -> None:
    memory = Memory("http://a", folder)
    with memory.claim(source, space="s") as claim:
        claim.note(source, source.fingerprint(), UPLOAD)
    entries(folder)[0].write_bytes(content)
    with memory.claim(source, space="s") as claim:
        assert claim.upload_of(source.fingerprint()) is None
        assert claim.upload is None


def test_the_folder_is_for_its_owner_only(folder: Path, source: Source) -> None:
    with Memory("http://a", folder).claim(source, space="s") as claim:
        claim.note(source, source.fingerprint(), UPLOAD)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(entries(folder)[0].stat().st_mode) == 0o600


def test_without_a_folder_nothing_is_remembered_and_somebody_says_so(tmp_path: Path, source: Source) -> None:
    (tmp_path / "file").touch()
    for folder, why in ((tmp_path / "file" / "x", "Not a directory"), (None, "no home folder")):
        memory = Memory("http://a", folder)
        assert why in memory.problem
        assert "XDG_STATE_HOME" in memory.problem
        with memory.claim(source, space="s") as claim:
            claim.note(source, source.fingerprint(), UPLOAD)
            assert claim.upload == UPLOAD


def test_old_notes_are_removed_unless_in_use(folder: Path, source: Source, tmp_path: Path) -> None:
    memory = Memory("http://a", folder)
    used = memory.claim(source, space="used")
    used.note(source, source.fingerprint(), UPLOAD)
    with memory.claim(source, space="unused") as unused:
        unused.note(source, source.fingerprint(), UPLOAD)
    long_ago = time.time() - 31 * 86400
    for path in entries(folder):
        os.utime(path, (long_ago, long_ago))
    Memory("http://b", folder)
    assert len(entries(folder)) == 1
    used.close()


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert state_folder() == Path("/var/state/penstock/uploads")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/to/be/ignored")
    assert state_folder() == Path("/home/me/.local/state/penstock/uploads")
