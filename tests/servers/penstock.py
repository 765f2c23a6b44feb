"""A real `penstock serve`, to be killed and started again."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Self

from .copies import Process, start, without_settings
from .ports import free_port
from .readiness import is_ready

READY_SECONDS = 120.0


class PenstockServer:
    """One server on a port and a data folder that outlive its process.

    It is a copy of one that has imported everything (`copies`), unless the test has it `installed`.
    """

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.data_dir = folder / "data"
        self.log_path = folder / "server.log"
        self.arguments = arguments
        self.environment = environment
        self.process: Process | None = None
        self.starts = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def staging(self) -> list[Path]:
        folder = self.data_dir / "blobs" / "staged"
        return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []

    def launch(self) -> Process:
        """Start the process; do not wait for it."""
        address = f"{self.host}:{self.port}"
        self.process = start(
            ["serve", "--data-dir", str(self.data_dir), "--http-addr", address, *self.arguments],
            log=self.log_path,
            environment=without_settings() | self.environment,
        )
        self.starts += 1
        return self.process

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        self.launch()
        return self.wait()

    def wait(self) -> Self:
        """Wait until it is ready."""
        process = self.process
        assert process is not None
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if process.poll() is not None:
                break
            if is_ready(self.port, timeout_seconds=2):
                return self
            time.sleep(0.02)
        raise AssertionError(f"penstock serve is not ready; its last words:\n{self.last_words()}")

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 120) -> int:
        """Ask it to end; return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def last_words(self, lines: int = 40) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
