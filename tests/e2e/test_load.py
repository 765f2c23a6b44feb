"""Many small uploads: none gets stuck, and memory stays flat."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.servers.penstock import PenstockServer

IN_A_ROW = 10_000
AT_ONCE = 16_000
CONNECTIONS = 16
CLIENT = Path(__file__).parent / "load_client.py"
GROWTH_MIB = 96
"""What the server may keep more after all of it than after the first thousand: caches and the allocator's slack."""


def resident_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def send(server: PenstockServer, count: int, connections: int) -> float:
    begin = time.monotonic()
    command = [sys.executable, str(CLIENT), str(server.port), str(count), str(connections)]
    subprocess.run(command, check=True, timeout=320)
    return time.monotonic() - begin


def wait_for(server: PenstockServer, released: int) -> None:
    """Wait until so many are released, and nothing is on its way any more."""
    end = time.monotonic() + 200
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while time.monotonic() < end:
            text = client.get("/metrics").text
            counts = {
                line.split('"')[1]: float(line.rpartition(" ")[2])
                for line in text.splitlines()
                if line.startswith("penstock_uploads{")
            }
            if counts.get("released") == released and not counts.get("processing") and not counts.get("receiving"):
                assert client.get("/api/v1/postprocessing").json()["records"] == []
                return
            time.sleep(0.25)
    raise AssertionError(f"after {released} uploads: {counts}")


@pytest.mark.timeout(600)
def test_thousands_of_uploads_end_and_memory_stays_flat(tmp_path: Path) -> None:
    with PenstockServer(tmp_path, PENSTOCK_LOG_LEVEL="warning") as server:
        send(server, 1000, 1)
        wait_for(server, 1000)
        before = resident_mib(server.pid)
        in_a_row = send(server, IN_A_ROW, 1)
        wait_for(server, 1000 + IN_A_ROW)
        between = resident_mib(server.pid)
        at_once = send(server, AT_ONCE, CONNECTIONS)
        wait_for(server, 1000 + IN_A_ROW + AT_ONCE)
        after = resident_mib(server.pid)
        print(
            f"\n{IN_A_ROW} in a row: {IN_A_ROW / in_a_row:.0f}/s; {AT_ONCE} at once: {AT_ONCE / at_once:.0f}/s; "
            f"RSS {before:.0f} MiB before, {between:.0f} MiB between, {after:.0f} MiB after"
        )
        assert after < before + GROWTH_MIB
        assert server.staging == []
