"""Rules that change while the scanner runs."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from penstock.antivirus import LocalFile, Verdict
from penstock.antivirus.eicar import eicar
from penstock.antivirus.limits import Severity
from penstock.antivirus.yara import YaraScanner
from penstock.antivirus.yara.scanner import LOOK_EVERY
from penstock.testing import ManualClock, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

A = 'rule Has_A { strings: $a = "aaa" condition: $a }'
B = 'rule Has_B { strings: $b = "bbb" condition: $b }'
RUNAWAY = "rule Runaway { condition: filesize == 68 and for all i in (0..1000000000000) : (i >= 0) }"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "own.yar").write_text(A)
    return folder


class Watched:
    """A scanner with a clock that a test moves."""

    def __init__(self, scanner: YaraScanner, clock: ManualClock, folder: Path) -> None:
        self.scanner = scanner
        self.clock = clock
        self._folder = folder

    async def finds(self, data: bytes) -> str:
        path = self._folder / "scanned"
        path.write_bytes(data)
        report = await self.scanner.scan(LocalFile(path), size_bytes=len(data))
        return report.signature if report.verdict is Verdict.INFECTED else ""

    async def until(self, happened: Callable[[], object]) -> None:
        """Let it look at the rules again and again until something has happened."""

        async def looked() -> bool:
            await self.clock.advance(LOOK_EVERY)
            return bool(happened())

        await eventually(looked, timeout_seconds=60)

    async def until_reloaded(self) -> None:
        """Let it look at the rules until others are in use, or some are refused."""
        before = await self.database()

        async def other() -> bool:
            await self.clock.advance(LOOK_EVERY)
            return await self.database() != before

        await eventually(other, timeout_seconds=60)

    @property
    def outdated(self) -> str:
        (state,) = self.scanner.states()
        return state.outdated

    async def database(self) -> str:
        return (await self.scanner.version()).database


@asynccontextmanager
async def watched(rules: Path, *, least_severity: Severity = Severity.LOW) -> AsyncIterator[Watched]:
    clock = ManualClock()
    async with YaraScanner([rules], clock=clock, least_severity=least_severity) as scanner:
        yield Watched(scanner, clock, rules.parent)


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process(os.getpid()).children() if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    """Other children are servers that other tests go on with."""
    try:
        return runs(process) and "penstock.antivirus.yara_worker" in process.cmdline()
    except psutil.Error:
        return False


def runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def changed(rules: Path, text: str, name: str = "own.yar") -> None:
    (rules / name).write_text(text)


async def test_a_changed_rule_is_used_without_a_restart(rules: Path) -> None:
    async with watched(rules) as it:
        before = await it.database()
        assert [await it.finds(b"aaa"), await it.finds(b"bbb")] == ["Has_A", ""]
        await changed(rules, B)
        old = workers()
        await it.until_reloaded()
        await eventually(lambda: not any(map(runs, old)), timeout_seconds=60)
        assert [await it.finds(b"aaa"), await it.finds(b"bbb")] == ["", "Has_B"]
        assert await it.database() != before
        assert it.outdated == ""
        assert await it.finds(eicar()) == "EICAR_Test_File"


@pytest.mark.parametrize("way", ["added", "included", "removed"])
async def test_files_that_come_and_go_are_noticed(rules: Path, way: str) -> None:
    await changed(rules, A if way == "removed" else "rule None { condition: false }", "extra.yar")
    await changed(rules, "rule None { condition: false }", "part.inc")
    await changed(rules, 'include "part.inc"')
    expected = {"added": "Has_B", "included": "Has_B", "removed": ""}[way]
    async with watched(rules) as it:
        if way == "added":
            await changed(rules, B, "new.yar")
        elif way == "included":
            await changed(rules, B, "part.inc")
        else:
            (rules / "extra.yar").unlink()
        await it.until_reloaded()
        assert await it.finds(b"aaa bbb") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rule Broken {", "own.yar:1"),
        ("rule Everything { condition: true }", "Everything matches harmless bytes"),
        (RUNAWAY, "a rule runs away"),
        (None, "no YARA rule in this folder"),
    ],
)
async def test_rules_that_are_no_good_leave_the_old_ones_in_use(
    rules: Path, text: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(rules) as it:
        before = await it.database()
        if text is None:
            (rules / "own.yar").unlink()
        else:
            await changed(rules, text)
        with monkeypatch.context() as patched:
            if text == RUNAWAY:
                patched.setattr("penstock.antivirus.yara.proof._LONGEST", timedelta(seconds=0.5))
            await it.until(lambda: it.outdated)
        assert said in it.outdated
        assert await it.finds(b"aaa") == "Has_A"
        killed = workers()
        for process in killed:
            process.kill()
        await eventually(lambda: not any(map(runs, killed)))
        assert await it.finds(b"aaa") == "Has_A"  # a new worker, with the old rules
        assert await it.database() == before
        await changed(rules, B)
        await it.until(lambda: not it.outdated)
        assert await it.finds(b"bbb") == "Has_B"


async def test_a_scan_that_runs_ends_with_the_rules_with_which_it_began(rules: Path) -> None:
    big = rules.parent / "big"
    big.write_bytes(b"aaa")
    os.truncate(big, 2**30)
    async with watched(rules) as it:
        (before,) = workers()
        scanning = asyncio.create_task(it.scanner.scan(LocalFile(big), size_bytes=2**30))
        await eventually(lambda: str(big) in Path(f"/proc/{before.pid}/maps").read_text())
        before.suspend()
        await changed(rules, B)
        await it.until_reloaded()
        before.resume()
        assert (await asyncio.wait_for(scanning, 60)).signature == "Has_A"
        await eventually(lambda: before.pid not in [process.pid for process in workers()])
        assert await it.finds(b"bbb") == "Has_B"


@pytest.mark.parametrize(
    ("severity", "infected"),
    [("low", False), ("medium", False), ("HIGH", True), ("critical", True), ("dreadful", True), ("", True)],
)
async def test_only_rules_that_are_severe_enough_make_a_file_infected(
    rules: Path, severity: str, *, infected: bool
) -> None:
    await changed(rules, f'rule Has_A {{ meta: severity = "{severity}" strings: $a = "aaa" condition: $a }}')
    (rules.parent / "file").write_bytes(b"aaa")
    async with watched(rules, least_severity=Severity.HIGH) as it:
        report = await it.scanner.scan(LocalFile(rules.parent / "file"), size_bytes=3)
        assert await it.finds(eicar()) == "EICAR_Test_File"  # it does not say how bad it is
    if infected:
        assert (report.verdict, report.signature, report.noted) == (Verdict.INFECTED, "Has_A", ())
    else:
        assert (report.verdict, report.signature) == (Verdict.CLEAN, "")
        assert report.noted == (f"Has_A ({severity})",)


async def test_a_rule_that_only_notes_may_match_everything(rules: Path) -> None:
    async with watched(rules, least_severity=Severity.MEDIUM) as it:
        await changed(rules, 'rule Every { meta: severity = "low" condition: true }')
        await it.until_reloaded()
        await it.scanner.self_test()
        assert it.outdated == ""
