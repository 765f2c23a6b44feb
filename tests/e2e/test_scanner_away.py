"""A clamd that goes away: files are held, and go on by themselves when it is back."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx

from penstock.antivirus.eicar import eicar
from tests.servers.clamd import LIMIT_BYTES, running_clamd
from tests.servers.penstock import PenstockServer
from tests.servers.process import halt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UPLOADS = int(os.environ.get("PENSTOCK_HELD_SCANS", "30"))


def wait(happened: Callable[[], bool], seconds: float = 120) -> None:
    ends_at = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < ends_at
        time.sleep(0.1)


def test_all_are_held_and_then_go_on_without_a_command(tmp_path: Path) -> None:
    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd") as clamd:
        environment = {
            "ANTIVIRUS_SCANNER_TYPE": "clamav",
            "ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address,
            "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": str(LIMIT_BYTES),
            "PENSTOCK_ANTIVIRUS_BREAKER_PAUSE": "1s",
            # So long that nobody goes on because a pause is over.
            "POSTPROCESSING_RETRY_BACKOFF_DURATION": "1h",
        }
        with PenstockServer(tmp_path, **environment) as server, httpx.Client(base_url=server.url) as client:
            clamd.kill()
            for number in range(UPLOADS):
                content = eicar() if number == 7 else f"harmless {number}".encode()
                assert client.put(f"/files/{number}.txt", content=content).status_code == 202

            def counted(phase: str) -> int:
                page = client.get("/api/v1/uploads", params={"phase": phase, "limit": 1000}).json()
                return len(page["uploads"])

            def all_pause() -> bool:
                records = client.get("/api/v1/postprocessing").json()["records"]
                return [record["state"] for record in records] == ["backoff"] * UPLOADS

            wait(all_pause)
            assert client.get("/files/0.txt").status_code == 425
            wait(lambda: client.get("/readyz").status_code == 503)
            clamd.start_again()
            wait(lambda: counted("released") == UPLOADS - 1 and counted("deleted") == 1)
            wait(lambda: client.get("/readyz").status_code == 200)
            assert client.get("/files/0.txt").content == b"harmless 0"
            assert client.get("/files/7.txt").status_code in (404, 410)


def test_uploads_are_taken_at_full_speed_while_the_scanner_says_nothing_and_say_what_they_wait_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd") as clamd:
        environment = {
            "ANTIVIRUS_SCANNER_TYPE": "clamav",
            "ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address,
            "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": str(LIMIT_BYTES),
        }
        with PenstockServer(tmp_path, **environment) as server, httpx.Client(base_url=server.url) as client:

            def seconds(name: str) -> float:
                began_at = time.monotonic()
                for number in range(20):
                    assert client.put(f"/files/{name}-{number}.txt", content=bytes(100_000)).status_code == 202
                return time.monotonic() - began_at

            seconds("first")
            scanning = seconds("scanned")
            halt(clamd.pid)
            try:
                held = seconds("held")

                def newest() -> dict[str, Any]:
                    page = client.get("/api/v1/uploads", params={"phase": "processing", "limit": 1}).json()
                    return dict(page["uploads"][0])

                wait(lambda: (newest()["processing"] or {}).get("state") == "step")
                view = newest()
                assert view["processing"]["step"] == "virusscan"
                assert view["processing"]["step_started_at"]
                assert client.get(f"/files/{view['filename']}").status_code == 425
            finally:
                clamd.process.send_signal(signal.SIGCONT)
            assert held < 3 * scanning + 40  # nobody waits for the scanner: one scan would take a minute and more
