"""A server as a process whose output goes into a file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

START_SECONDS = 120.0
STOP_SECONDS = 60.0


class ServerProcess(ABC):
    """One process; what it is asked to find out whether it is up is up to the server."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def launch(self) -> None:
        """Start the process, by `run`."""

    @abstractmethod
    def comes_up(self) -> bool:
        """Wait until it answers; whether it does."""

    def run(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def answers(self, ask: Callable[[], object], not_yet: type[Exception]) -> bool:
        """Whether it answers in time, as long as it lives; `not_yet` is what `ask` raises before."""
        ends_at = time.monotonic() + START_SECONDS
        while time.monotonic() < ends_at and self.process is not None and self.process.poll() is None:
            try:
                ask()
            except not_yet:
                time.sleep(0.05)
            else:
                return True
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""


S = TypeVar("S", bound=ServerProcess)


@contextmanager
def running(make: Callable[[], S], name: str) -> Iterator[S]:
    """Run a server; `make` chooses its port."""
    words = ""
    for _ in range(3):  # somebody may take the port between our looking and its listening
        server = make()
        server.launch()
        try:
            if server.comes_up():
                yield server
                return
            words = server.last_words()
        finally:
            server.stop()
    pytest.fail(f"{name} did not come up:\n{words}")


def halt(*pids: int) -> None:
    """Stop processes, and return when no thread of theirs runs: the signal takes effect when it is delivered."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    ends_at = time.monotonic() + START_SECONDS
    while not all(state in "TtZX" for pid in pids for state in _states(pid)):
        assert time.monotonic() < ends_at, f"{pids} do not stop"
        time.sleep(0.001)


def _states(pid: int) -> Iterable[str]:
    """Return the state of each thread, one letter (proc(5))."""
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            yield thread.read_text().rpartition(") ")[2][0]
