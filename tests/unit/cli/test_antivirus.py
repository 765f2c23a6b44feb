from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from penstock.antivirus.base import LocalFile, ScannerUnavailable, ScanReport, SelfTestFailed, Verdict
from tests.unit.cli.conftest import Penstock


class Scanner:
    """Goes by the name of the file."""

    def __init__(self) -> None:
        self.at_once = 0
        self.most = 0
        self.timeouts: set[timedelta | None] = set()
        self.well = True

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
def scanner(monkeypatch: pytest.MonkeyPatch) -> Scanner:
    fake = Scanner()
    monkeypatch.setattr("penstock.app.scanner_of", lambda settings, clock: fake)
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


def test_what_was_only_noted_is_shown(penstock: Penstock, scanner: Scanner, tmp_path: Path) -> None:
    del scanner
    assert "also noted: Macro (low)" in penstock("antivirus", "scan", *make(tmp_path, "infected")).out
