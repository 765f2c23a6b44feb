"""Services that run by themselves, such as `penstock postprocessing server`."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .copies import Process, start, without_settings
from .ports import free_port
from .readiness import is_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_SECONDS = 120.0
STOP_SECONDS = 60.0


class SingleService:
    """One process of `penstock …`, with a debug address that outlives it.

    It is a copy of one that has imported everything (`copies`), unless the test has it `installed`.
    """

    def __init__(
        self, folder: Path, *arguments: str, name: str = "service", debug_variable: str = "", **environment: str
    ) -> None:
        """Start it; `debug_variable` tells it the debug address, where it is not told on the command line."""
        self.port = free_port()
        self._debug_variable = debug_variable
        self.log_path = folder / f"{name}.log"
        self._arguments = arguments
        self._folder = folder
        self._environment = environment
        self.starts = 0
        self.process = self._launch()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _launch(self) -> Process:
        arguments, address = list(self._arguments), f"127.0.0.1:{self.port}"
        told = {self._debug_variable: address} if self._debug_variable else {}
        if not told:
            arguments += ["--debug-addr", address]
        self.starts += 1
        return start(
            arguments,
            log=self.log_path,
            environment={**without_settings(), **self._environment, **told},
            folder=self._folder,
        )

    def start_again(self) -> None:
        """Start it after it has ended; do not wait for it."""
        self.process = self._launch()

    def ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        """Wait until it works."""
        ends_at = time.monotonic() + timeout_seconds
        while time.monotonic() < ends_at:
            if is_ready(self.port):
                return
            if self.process.poll() is not None:
                pytest.fail(f"it ended with status {self.process.returncode}:\n{self.last_words()}")
            time.sleep(0.05)
        pytest.fail(f"it was not ready in time:\n{self.last_words()}")

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it in good order; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"it did not end in time:\n{self.last_words()}")

    def last_words(self) -> str:
        """What it logged last, for the message of a test that fails."""
        return self.log_path.read_text(errors="replace")[-3000:]


@contextmanager
def running_services(folder: Path, count: int, *arguments: str, **environment: str) -> Iterator[list[SingleService]]:
    """Run `count` processes of one service; all of them are ready."""
    services = [SingleService(folder, *arguments, name=f"service-{number}", **environment) for number in range(count)]
    try:
        for service in services:
            service.ready()
        yield services
    finally:
        for service in services:
            service.process.send_signal(signal.SIGTERM)
        for service in services:
            service.stop()
