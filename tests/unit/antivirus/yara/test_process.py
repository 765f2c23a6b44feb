"""A worker that does not behave."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from penstock.antivirus import LocalFile, ScannerProtocolError, ScannerUnavailable, SourceUnreadable, Verdict
from penstock.antivirus.yara import YaraScanner, process
from penstock.antivirus.yara.compiled import CompiledRules
from penstock.antivirus.yara.process import Setup, Worker
from penstock.testing import ManualClock, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_MODULE", "tests.unit.antivirus.yara.odd_worker")


def setup(what: str) -> Setup:
    return Setup(rules=[what] if what else [], built_in=[], memory_bytes=2**30)


@asynccontextmanager
async def started(setup: Setup) -> AsyncIterator[Worker]:
    worker = await start(setup)
    try:
        yield worker
    finally:
        worker.discard()
        assert await worker.ended()


async def start(setup: Setup) -> Worker:
    with CompiledRules() as rules:
        return await Worker.start(setup, rules)


async def scan(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """Scan 5 bytes with a scanner whose worker is an odd one."""
    monkeypatch.setattr("penstock.antivirus.yara.scanner.find_rules", lambda paths: [str(path) for path in paths])
    file = tmp_path / "file"
    file.write_bytes(b"bytes")  # a test may wait
    async with YaraScanner([Path(what)], clock=ManualClock()) as scanner:
        return (await scanner.scan(LocalFile(file), size_bytes=5)).verdict


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("what", ["garbage", "unknown fields", "nothing", "fewer bytes", "no matches", "endless"])
async def test_what_is_no_answer_is_no_verdict(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScannerProtocolError):
        await scan(what, tmp_path, monkeypatch)


@pytest.mark.usefixtures("odd")
async def test_half_an_answer_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScannerUnavailable, match="ended with status 0 while it was needed"):
        await scan("half", tmp_path, monkeypatch)


@pytest.mark.usefixtures("odd")
async def test_what_cannot_be_read_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceUnreadable, match="written in pencil"):
        await scan("unreadable", tmp_path, monkeypatch)


@pytest.mark.usefixtures("odd")
async def test_a_find_is_believed_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await scan("found early", tmp_path, monkeypatch) is Verdict.INFECTED


@pytest.mark.usefixtures("odd")
async def test_a_death_is_told_with_the_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScannerUnavailable, match="ended with status 1 while it was needed: it has a cold"):
        await scan("dies", tmp_path, monkeypatch)


@pytest.mark.usefixtures("odd")
async def test_one_that_does_not_get_ready() -> None:
    with pytest.raises(ScannerUnavailable, match="status 1 while it was needed: it has a cold"):
        await start(setup("dies before it is ready"))
    for what in ("garbage before it is ready", "incomplete before it is ready"):
        with pytest.raises(ScannerProtocolError):
            await start(setup(what))


@pytest.mark.usefixtures("odd")
async def test_one_that_takes_too_long_to_get_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_START_SECONDS", 0.3)
    with pytest.raises(ScannerUnavailable, match=r"ready in 0\.3 s"):
        await start(setup("never ready"))


@pytest.mark.usefixtures("odd")
async def test_one_that_speaks_unasked_is_not_used() -> None:
    async with started(setup("speaks unasked")) as worker:
        await eventually(lambda: not worker.is_alive())


async def test_no_program_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ScannerUnavailable, match="/nowhere/python"):
        await start(setup(""))
    assert len(os.listdir("/proc/self/fd")) <= len(before)


async def test_it_knows_nothing_of_the_servers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET", "a secret")
    async with started(setup("")) as worker:
        environment = psutil.Process(worker.pid).environ()
        assert "PYTHONPATH" in environment
        assert "PENSTOCK_SECRET" not in environment
        assert os.readlink(f"/proc/{worker.pid}/cwd") == "/"
        assert os.getsid(worker.pid) == worker.pid  # Ctrl-C in our terminal is not for it


async def test_nothing_of_ours_is_open_in_it(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        async with started(setup("")) as worker:
            assert psutil.Process(worker.pid).open_files() == []
