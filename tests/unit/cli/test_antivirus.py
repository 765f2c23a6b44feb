from __future__ import annotations

import asyncio
import io
import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from penstock.antivirus.base import LocalFile, ScannerUnavailable, ScanReport, SelfTestFailed, Verdict
from penstock.settings import Settings
from tests.unit.cli.conftest import Penstock


class Scanner:
    """Goes by the name of the file."""

    def __init__(self) -> None:
        self.at_once = 0
        self.most = 0
        self.timeouts: set[timedelta | None] = set()
        self.well = True
        self.names: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def self_test(self) -> None:
        if not self.well:
            raise SelfTestFailed("it does not find EICAR")

    async def scan(self, source: LocalFile, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        self.timeouts.add(timeout)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        assert size_bytes == source.path.stat().st_size
        name = source.path.stem
        if name == "away":
            raise ScannerUnavailable("clamd went away")
        verdict = Verdict(name) if name in set(Verdict) else Verdict.CLEAN
        signature = "EICAR" if verdict is Verdict.INFECTED else ""
        return ScanReport(
            verdict=verdict,
            scanner="fake",
            signature=signature,
            engine_version="engine 1",
            database_version="2",
            bytes_scanned=size_bytes,
            duration=timedelta(seconds=1.25),
            noted=("Macro (low)",) if signature else (),
        )


@pytest.fixture
def scanner(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Scanner:
    del clean_environment
    fake = Scanner()

    def scanner_of(settings: Settings, clock: object) -> Scanner:
        fake.names = settings.antivirus_scanner
        return fake

    monkeypatch.setenv("ANTIVIRUS_SCANNER_TYPE", "clamav")
    monkeypatch.setattr("penstock.app.scanner.scanner_of", scanner_of)
    return fake


def make(folder: Path, *names: str) -> list[Path]:
    paths = [folder / f"{name}.bin" for name in names]
    for path in paths:
        path.write_bytes(b"12345")
    return paths


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["a", "b"], 0),
        (["a", "infected"], 1),
        (["infected", "away"], 2),
        (["too_large"], 2),
        (["unscannable", "a"], 2),
    ],
)
def test_the_status_says_what_was_found(
    penstock: Penstock, scanner: Scanner, tmp_path: Path, names: list[str], status: int
) -> None:
    del scanner
    ended = penstock("antivirus", "scan", *make(tmp_path, *names))
    assert ended.status == status
    assert ended.err == ""
    assert all(f"{name}.bin" in ended.out for name in names)


def test_one_that_fails_does_not_stop_the_others(penstock: Penstock, scanner: Scanner, tmp_path: Path) -> None:
    del scanner
    found: list[dict[str, Any]] = penstock("antivirus", "scan", "--json", *make(tmp_path, "away", "infected", "a")).json
    assert [one["verdict"] for one in found] == ["failed", "infected", "clean"]
    assert found[0]["detail"] == "clamd went away"
    assert found[1] == {
        "file": str(tmp_path / "infected.bin"), "size": 5, "verdict": "infected", "signature": "EICAR",
        "seconds": 1.25, "detail": "", "scanner": "fake", "engine_version": "engine 1", "database_version": "2",
        "bytes_scanned": 5, "noted": ["Macro (low)"],
    }  # fmt: skip


def test_folders_are_walked_and_as_many_files_scanned_at_once_as_set(
    penstock: Penstock, scanner: Scanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    make(tmp_path / "folder", *"abcdef")
    make(tmp_path / "folder" / "deep", "infected")
    monkeypatch.setenv("ANTIVIRUS_WORKERS", "3")
    monkeypatch.setenv("PENSTOCK_ANTIVIRUS_SCAN_TIMEOUT", "7s")
    ended = penstock("antivirus", "scan", "--json", tmp_path / "folder")
    assert ended.status == 1
    assert len(ended.json) == 7
    assert scanner.most == 3
    assert scanner.timeouts == {timedelta(seconds=7)}


def test_a_scanner_that_does_not_find_what_it_must_scans_nothing(
    penstock: Penstock, scanner: Scanner, tmp_path: Path
) -> None:
    scanner.well = False
    ended = penstock("antivirus", "scan", *make(tmp_path, "a"))
    assert (ended.status, ended.out, ended.err) == (2, "", "penstock: it does not find EICAR\n")
    assert scanner.most == 0


def test_no_files_at_all_is_an_error(penstock: Penstock, scanner: Scanner, tmp_path: Path) -> None:
    del scanner
    (tmp_path / "empty").mkdir()
    ended = penstock("antivirus", "scan", tmp_path / "empty")
    assert (ended.status, ended.err) == (2, "penstock: there are no files.\n")


def test_what_cannot_be_looked_at_does_not_stop_the_others(
    penstock: Penstock, scanner: Scanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del scanner
    (tmp_path / "folder" / "closed").mkdir(parents=True)
    make(tmp_path / "folder", "a")
    os.mkfifo(tmp_path / "pipe")

    def scandir(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)  # type: ignore[call-overload]

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    ended = penstock("antivirus", "scan", "--json", "folder", "nosuch", "pipe")
    assert ended.status == 2
    assert [(one["file"], one["verdict"], one["detail"]) for one in ended.json] == [
        ("folder/a.bin", "clean", ""),
        ("folder/closed", "failed", "folder/closed cannot be read: Permission denied"),
        ("nosuch", "failed", "nosuch: there is no such file"),
        ("pipe", "failed", "pipe is neither a file nor a folder. Name a file."),
    ]


def test_where_nothing_can_be_looked_at_no_scanner_is_asked(penstock: Penstock, scanner: Scanner) -> None:
    scanner.well = False
    ended = penstock("antivirus", "scan", "nosuch")
    assert (ended.status, "there is no such file" in ended.out, ended.err) == (2, True, "")


def test_standard_input_is_scanned(
    penstock: Penstock, scanner: Scanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del scanner
    with (tmp_path / "in").open("w+b") as given:
        given.write(b"123456789")
        given.seek(0)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given))
        found = penstock("antivirus", "scan", "--json", "-", *make(tmp_path, "a")).json
    assert [(one["file"], one["size"]) for one in found] == [("-", 9), (str(tmp_path / "a.bin"), 5)]


def test_a_scanner_can_be_named_and_the_default_is_no_protection(
    penstock: Penstock, scanner: Scanner, tmp_path: Path
) -> None:
    files = make(tmp_path, "a")
    for names, warned in (("yara", True), ("clamav,yara", False), ("icap", False)):
        ended = penstock("antivirus", "scan", "--scanner", names, *files)
        assert scanner.names == tuple(names.split(","))
        assert ("only the EICAR test file" in ended.err) is warned
    (tmp_path / "own.yar").write_text("rule own { condition: false }")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_ANTIVIRUS_YARA_RULES", str(tmp_path / "own.yar"))
        assert penstock("antivirus", "scan", "--scanner", "yara", *files).err == ""
    wrong = penstock("antivirus", "scan", "--scanner", "nosuch", *files)
    assert (wrong.status, "Write one of yara, clamav, icap" in wrong.err) == (2, True)


def test_the_check_says_that_the_default_is_no_protection(penstock: Penstock) -> None:
    ended = penstock("antivirus", "check")
    assert (ended.status, "only the EICAR test file" in ended.err) == (0, True)


def test_what_was_only_noted_is_shown(penstock: Penstock, scanner: Scanner, tmp_path: Path) -> None:
    del scanner
    assert "also noted: Macro (low)" in penstock("antivirus", "scan", *make(tmp_path, "infected")).out


@pytest.mark.parametrize("command", ["scan", "check"])
def test_a_scanner_that_is_none_is_named_as_it_was_typed(penstock: Penstock, tmp_path: Path, command: str) -> None:
    paths = make(tmp_path, "a") if command == "scan" else []
    ended = penstock("antivirus", command, "--scanner", "foo", *paths)
    assert ended.status == 2
    assert "--scanner foo (command line): unknown" in ended.err
