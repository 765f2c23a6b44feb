"""How much memory scans take: the same for any size of file, and little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.antivirus.eicar import eicar
from tests.servers.cicap import running_cicap
from tests.servers.clamd import LIMIT_BYTES, running_clamd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.clamd import Clamd

MIB = 1024 * 1024
MOST_BYTES = 32 * MIB
"""By how much the memory of a process may grow with a scan."""

MEASURE = """
import asyncio, json, os, sys, time
from pathlib import Path
import psutil
from penstock.antivirus import ByteStream, LocalFile
from penstock.antivirus.clamav import ClamavScanner
from penstock.antivirus.icap import IcapScanner
from penstock.antivirus.yara import YaraScanner
from penstock.clock import SystemClock

address, path, way = sys.argv[1:]
path = Path(path)
size_bytes = path.stat().st_size

def own():  # memory that nobody shares, as the kernel accounts for it; what maps files is the kernel's to drop
    return _anonymous(os.getpid()) + sum(map(_anonymous, _workers()))

found, found_at = [], 0.0

def _workers():  # to find them takes a look at all processes, far longer than to ask one of them
    global found, found_at
    if time.monotonic() - found_at > 0.2:
        found = [process.pid for process in psutil.Process().children()]
        found_at = time.monotonic()
    return [pid for pid in found if Path(f"/proc/{pid}").exists()]

def _anonymous(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

async def pieces():
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            yield piece

async def scan(scanner):
    source = LocalFile(path) if way == "file" else ByteStream(pieces())
    return await scanner.scan(source, size_bytes=size_bytes)

async def main():
    if address == "yara":
        opened = YaraScanner(clock=SystemClock())
    elif address.startswith("icap"):
        opened = IcapScanner(address, clock=SystemClock(), max_file_bytes=size_bytes)
    else:
        limit = {"stream_max_bytes": size_bytes, "max_file_bytes": size_bytes}
        opened = ClamavScanner(address, clock=SystemClock(), **limit)
    async with opened as scanner:
        await scanner.version()
        before, most = own(), 0
        scanning = asyncio.create_task(scan(scanner))
        while not scanning.done():
            most = max(most, own())
            await asyncio.sleep(0.005)
        print(json.dumps({"grown": most - before, "verdict": (await scanning).verdict}))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with running_clamd(tmp_path_factory.mktemp("clamd")) as server:
        yield server


def measure(address: str, size_bytes: int, way: str, folder: Path) -> tuple[int, str]:
    """Scan a file of zeros that ends in EICAR; return by how much memory has grown meanwhile, and the verdict."""
    file = folder / "file"
    with file.open("wb") as out:
        out.seek(size_bytes - len(eicar()))
        out.write(eicar())
    command = [sys.executable, "-c", MEASURE, address, str(file), way]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=280)
    last = json.loads(result.stdout.splitlines()[-1])
    return last["grown"], last["verdict"]


@pytest.mark.parametrize("way", ["file", "stream"])
@pytest.mark.parametrize("listener", ["unix_address", "tcp_address"])
def test_clamav(clamd: Clamd, listener: str, way: str, tmp_path: Path) -> None:
    grown, verdict = measure(getattr(clamd, listener), LIMIT_BYTES, way, tmp_path)
    assert verdict == "infected"
    assert grown < MOST_BYTES


@pytest.mark.parametrize("way", ["file", "stream"])
def test_icap(clamd: Clamd, way: str, tmp_path: Path) -> None:
    (tmp_path / "cicap").mkdir()
    with running_cicap(tmp_path / "cicap", clamd) as server:
        grown, verdict = measure(f"{server.url}/avscan", LIMIT_BYTES, way, tmp_path)
    assert verdict == "infected"
    assert grown < MOST_BYTES


@pytest.mark.parametrize(("size_bytes", "way"), [(513 * MIB, "file"), (128 * MIB, "stream")])
def test_yara(size_bytes: int, way: str, tmp_path: Path) -> None:
    grown, verdict = measure("yara", size_bytes, way, tmp_path)
    assert verdict == "infected"
    assert grown < MOST_BYTES
