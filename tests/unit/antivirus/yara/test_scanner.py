"""What a scan with rules of one's own comes to."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from penstock.antivirus import LocalFile, Verdict
from penstock.antivirus.eicar import eicar
from penstock.antivirus.yara import RulesInvalid, YaraScanner
from penstock.clock import SystemClock
from penstock.errors import ConfigurationError, Unavailable
from penstock.testing import eventually


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "letters.yar").write_text(
        'rule Has_A { strings: $a = "a" condition: $a }\nrule Has_B { strings: $b = "b" condition: $b }'
    )
    return folder


def write(path: Path, data: bytes) -> LocalFile:
    path.write_bytes(data)
    return LocalFile(path)


async def test_rules_of_ones_own_come_on_top(rules: Path, tmp_path: Path) -> None:
    async with YaraScanner([rules], clock=SystemClock()) as scanner:
        own = await scanner.scan(write(tmp_path / "own", b"xbx"), size_bytes=3)
        both = await scanner.scan(write(tmp_path / "both", b"a" + eicar() + b"b"), size_bytes=70)
        neither = await scanner.scan(write(tmp_path / "neither", b"xyz"), size_bytes=3)
    assert (own.verdict, own.signature, own.detail) == (Verdict.INFECTED, "Has_B", "")
    assert (both.verdict, both.signature) == (Verdict.INFECTED, "EICAR_Test_File")
    assert both.detail == "rules that match: EICAR_Test_File, Has_A, Has_B"
    assert (neither.verdict, neither.signature) == (Verdict.CLEAN, "")
    assert own.engine_version.startswith("yara-x ")
    assert own.database_version == both.database_version != ""


async def test_the_version_changes_with_the_rules(rules: Path) -> None:
    async with YaraScanner([rules], clock=SystemClock()) as own, YaraScanner(clock=SystemClock()) as built_in:
        assert (await own.version()).engine == (await built_in.version()).engine
        assert (await own.version()).database != (await built_in.version()).database


async def test_a_rule_that_does_not_compile_is_an_error_of_the_configuration(rules: Path) -> None:
    (rules / "wrong.yar").write_text("\nrule Wrong { condition: nothing }")
    with pytest.raises(RulesInvalid) as error:
        await YaraScanner([rules], clock=SystemClock()).__aenter__()
    assert isinstance(error.value, ConfigurationError)
    assert str(error.value).startswith(f"{rules}/wrong.yar:2: unknown identifier `nothing`")
    assert _workers() == []


async def test_rules_that_are_not_there_are_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid, match="no such file"):
        await YaraScanner([tmp_path / "none"], clock=SystemClock()).__aenter__()


async def test_a_mapped_file_that_is_cut_short_is_no_verdict(rules: Path, tmp_path: Path) -> None:
    """Reading behind the end of a mapping kills a process; it must not be ours, and must not pass for clean."""
    size_bytes = 2 * 1024**3
    big = tmp_path / "big"
    os.close(os.open(big, os.O_CREAT | os.O_WRONLY))
    os.truncate(big, size_bytes)
    async with YaraScanner([rules], clock=SystemClock()) as scanner:
        scanning = asyncio.create_task(scanner.scan(LocalFile(big), size_bytes=size_bytes))
        await eventually(lambda: any(_maps(pid, big) for pid in _workers()))
        os.truncate(big, 4096)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(scanning, 60)
        assert (await scanner.scan(write(tmp_path / "b", b"b"), size_bytes=1)).verdict is Verdict.INFECTED


def _workers() -> list[int]:
    return [child.pid for child in psutil.Process(os.getpid()).children() if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    """Other children are servers that other tests go on with."""
    try:
        return "penstock.antivirus.yara_worker" in process.cmdline()
    except psutil.Error:
        return False


def _maps(pid: int, path: Path) -> bool:
    return str(path) in Path(f"/proc/{pid}/maps").read_text()
