"""The scanners on the event loop that the server uses."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.servers.cicap import running_cicap
from tests.servers.clamd import running_clamd

if TYPE_CHECKING:
    from pathlib import Path

SELF_TEST = """
import sys
import uvloop
from penstock.antivirus import LocalFile
from penstock.antivirus.clamav import ClamavScanner
from penstock.antivirus.icap import IcapScanner
from penstock.antivirus.yara import YaraScanner
from penstock.clock import SystemClock
from pathlib import Path

def scanner_at(address):
    return (IcapScanner if address.startswith("icap") else ClamavScanner)(address, clock=SystemClock())

program = Path(sys.executable).resolve()

async def main():
    for scanner in (YaraScanner(clock=SystemClock()), *map(scanner_at, sys.argv[1:])):
        async with scanner:
            await scanner.self_test()
            report = await scanner.scan(LocalFile(program), size_bytes=program.stat().st_size)
            print(scanner.name, report.verdict)

uvloop.run(main())
"""


@pytest.mark.parametrize("mode", [[], ["-X", "dev"]], ids=["as usual", "in development mode"])
def test_uvloop(tmp_path: Path, mode: list[str]) -> None:
    for folder in ("clamd", "cicap"):
        (tmp_path / folder).mkdir()
    with running_clamd(tmp_path / "clamd") as clamd, running_cicap(tmp_path / "cicap", clamd) as cicap:
        addresses = [clamd.unix_address, clamd.tcp_address, f"{cicap.url}/avscan"]
        command = [sys.executable, *mode, "-W", "error", "-c", SELF_TEST, *addresses]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    logged = ("yara_worker_started", "yara_knows_only_eicar")
    said = [line for line in result.stdout.splitlines() if not any(event in line for event in logged)]
    assert (result.returncode, said) == (
        0,
        [
            "yara clean",
            "clamav clean",
            "clamav clean",
            "icap clean",
        ],
    ), result.stderr
    assert "Exception ignored" not in result.stderr
