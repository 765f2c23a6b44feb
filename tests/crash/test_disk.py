"""Disks that fill up or become read-only under a running server: everybody is told, and nothing is lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.e2e.raw_http import TUS, TusClient
from tests.servers.disks import MIB, read_only, small_disk
from tests.servers.penstock import PenstockServer

from .inventory import check_inventory

BODY = random.Random(8).randbytes(8 * MIB)
GATE = """
import time
from pathlib import Path

from penstock import Outcome, StepUpload, step


@step("gate")
def gate(upload: StepUpload) -> Outcome:
    while not Path(__file__).with_name("open").exists():
        time.sleep(0.01)
    return Outcome.CONTINUE
"""


def within(seconds: float, check: Callable[[], bool], server: PenstockServer) -> None:
    ends_at = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < ends_at, server.last_words()
        time.sleep(0.02)


def content(server: PenstockServer, path: str) -> bytes:
    """Wait until an upload is released; return the file."""
    url = f"{server.url}/api/v1/files/{path.rpartition('/')[2]}/content"
    within(60, lambda: httpx.get(url).status_code == 200, server)
    return httpx.get(url).content


def failures(server: PenstockServer, reason: str) -> float:
    name = f'penstock_storage_failures_total{{reason="{reason}"}} '
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_a_disk_that_fills_up_in_mid_body(tmp_path: Path) -> None:
    """Really: `ENOSPC` of a file system, where one may be made."""
    with (
        small_disk(tmp_path / "data", 192 * MIB) as disk,
        PenstockServer(tmp_path, POSTPROCESSING_STEPS="") as server,
    ):
        client = TusClient(server.port)
        path = client.create(len(BODY))
        with disk.full(server):
            response = client.patch(path, 0, BODY)
            assert (response.status, response.problem["code"]) == (507, "storage-full")
            assert response.problem["resource"] == "storage"
            assert int(response.headers["retry-after"]) > 0
            offset = client.offset(path)
            assert 0 < offset < len(BODY), "what fits is kept"
            assert client.patch(path, offset, BODY[offset:]).status == 507
            assert "disk:" in httpx.get(f"{server.url}/readyz").text
            assert failures(server, "storage-full") == 2
            assert "storage_failed" in server.log_path.read_text()
        offset = client.offset(path)
        assert client.patch(path, offset, BODY[offset:]).status == 204
        assert content(server, path) == BODY
        check_inventory(server.data_dir)


def test_a_folder_that_becomes_read_only(tmp_path: Path) -> None:
    """While one file comes in, another one is about to be released, and a third one is read."""
    (tmp_path / "gate.py").write_text(GATE)
    is_open = tmp_path / "open"
    is_open.touch()
    steps = {"POSTPROCESSING_STEPS": "gate", "POSTPROCESSING_RETRY_BACKOFF_DURATION": "100ms"}
    with PenstockServer(tmp_path, "--steps", str(tmp_path / "gate.py"), **steps) as server:
        client, half = TusClient(server.port), len(BODY) // 2
        released = client.create(3)
        client.patch(released, 0, b"abc")
        assert content(server, released) == b"abc"
        is_open.unlink()
        unfinished, waiting = client.create(len(BODY)), client.create(3)
        assert client.patch(unfinished, 0, BODY[:half]).status == 204
        assert client.patch(waiting, 0, b"def").status == 204
        with read_only(server.data_dir / "blobs"):
            refusals = [
                client.patch(unfinished, half, BODY[half:]),
                client.request("POST", "/uploads/", {**TUS, "Upload-Length": 5}),
            ]
            for response in refusals:
                assert (response.status, response.problem["code"]) == (503, "blob-unavailable")
                assert int(response.headers["retry-after"]) > 0
            assert client.offset(unfinished) == half
            assert content(server, released) == b"abc"
            ready = httpx.get(f"{server.url}/readyz")
            assert (ready.status_code, ready.text.partition(":")[0]) == (503, "folder")
            assert failures(server, "blob-unavailable") == 1
            is_open.touch()
            within(60, lambda: "event_handler_failed" in server.log_path.read_text(), server)
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert client.patch(unfinished, half, BODY[half:]).status == 204
        assert content(server, unfinished) == BODY
        assert content(server, waiting) == b"def"
        check_inventory(server.data_dir)
