"""Commands that other tests run as copies of a warm process, started as people start them: each does a little work.

All at once, since nearly all that they do is to import.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx

from penstock.db import Database
from penstock.testing.eventually import eventually
from tests.servers.copies import without_settings
from tests.servers.ports import free_port
from tests.unit.cli.fake_server import Answer, FakeServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.nats import NatsServer

SECONDS = 240


class Started:
    """One `penstock …`, in a folder of its own."""

    def __init__(self, stack: ExitStack, folder: Path, *arguments: str, **environment: str) -> None:
        folder.mkdir()
        self.process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "penstock", *arguments],
                cwd=folder,
                env=without_settings() | {"PENSTOCK_HTTP_ADDR": f"127.0.0.1:{free_port()}"} | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(self.process.kill)

    def ended(self) -> tuple[int, Any]:
        """Wait for the end; return the status, and the document that it printed."""
        out, err = self.process.communicate(timeout=SECONDS)
        assert out, err
        return self.process.returncode, json.loads(out)


async def test_they_work_when_they_are_started_for_real(tmp_path: Path, nats_server: NatsServer) -> None:
    inbox, data, port = tmp_path / "inbox", tmp_path / "data", free_port()
    data.mkdir()
    async with Database(f"sqlite:///{data / 'penstock.db'}"):
        pass
    with FakeServer() as server, ExitStack() as stack:
        server.routes = {
            ("GET", "/api/v1/paths"): lambda _: Answer.of({"files": [], "folders": ["a/"], "next": None}),
            ("GET", "/api/v1/antivirus/quarantine"): lambda _: Answer.of({"uploads": [], "next": None}),
        }
        receiver = Started(
            stack, tmp_path / "receive", "step", "receive", str(inbox), "--receive-addr", f"127.0.0.1:{port}"
        )
        files = Started(stack, tmp_path / "files", "files", "list", "--json", "--url", server.url)
        held = Started(stack, tmp_path / "held", "antivirus", "quarantine", "list", "--json", PENSTOCK_URL=server.url)
        collected = Started(stack, tmp_path / "gc", "uploads", "gc", "--json", "--dry-run", "--data-dir", str(data))
        taken = Started(
            stack,
            tmp_path / "taken",
            *("postprocessing", "takeover", "--dry-run", "--json"),
            POSTPROCESSING_EVENTS_ENDPOINT=nats_server.endpoint,
            POSTPROCESSING_STORE_NODES=nats_server.endpoint,
        )
        assert files.ended() == (0, {"files": [], "folders": ["a/"]})
        assert held.ended() == (0, [])
        status, report = collected.ended()
        assert (status, report["found"], report["dry_run"]) == (0, 0, True)
        status, found = taken.ended()
        assert status in (0, 1), found  # other tests may have left a stream on the server, and may not
        assert found["checks"]

        async def answers() -> int | None:
            try:
                async with httpx.AsyncClient(trust_env=False) as client:
                    return (await client.head(f"http://127.0.0.1:{port}/files/{'0' * 32}", timeout=60)).status_code
            except httpx.TransportError:
                return None

        await eventually(answers, timeout_seconds=SECONDS)
        assert await answers() == 404
        receiver.process.terminate()
        assert receiver.process.wait(SECONDS) == 0
        assert inbox.is_dir()
