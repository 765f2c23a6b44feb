"""Many small uploads: none gets stuck, and memory stays flat. `make bench ARGS=soak` does the same with 26,000."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.servers.copies import installed
from tests.servers.penstock import PenstockServer

WARM_UP = 640
IN_A_ROW = 400
AT_ONCE = 1_600
CONNECTIONS = 16
CLIENT = Path(__file__).parent / "load_client.py"
GROWTH_MIB = 64
"""What the server may keep more after all of it than after the first ones: caches and the allocator's slack."""


def resident_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def send(server: PenstockServer, count: int, connections: int) -> None:
    command = [sys.executable, str(CLIENT), str(server.port), str(count), str(connections)]
    subprocess.run(command, check=True, timeout=280)


def wait_for(server: PenstockServer, released: int) -> None:
    """Wait until so many are released, and nobody has anything to do for them any more."""
    end = time.monotonic() + 300
    with httpx.Client(base_url=server.url, timeout=120) as client:
        while time.monotonic() < end:
            open_uploads = client.get("/api/v1/uploads", params={"sessions": True, "limit": 1}).json()["uploads"]
            counted = f'penstock_uploads{{phase="released"}} {released:.1f}' in client.get("/metrics").text
            if not open_uploads and not client.get("/api/v1/postprocessing").json()["records"] and counted:
                return
            time.sleep(0.25)
    raise AssertionError(f"of {released} uploads some do not end: {server.last_words()}")


@pytest.mark.timeout(900)
def test_thousands_of_uploads_end_and_memory_stays_flat(tmp_path: Path) -> None:
    with installed(), PenstockServer(tmp_path, PENSTOCK_LOG_LEVEL="warning") as server:
        send(server, WARM_UP, 16)
        wait_for(server, WARM_UP)
        before = resident_mib(server.pid)
        send(server, IN_A_ROW, 1)
        wait_for(server, WARM_UP + IN_A_ROW)
        send(server, AT_ONCE, CONNECTIONS)
        wait_for(server, WARM_UP + IN_A_ROW + AT_ONCE)
        after = resident_mib(server.pid)
        assert after < before + GROWTH_MIB
        assert server.staging == []
