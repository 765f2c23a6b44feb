"""Starts `penstock …` as a copy of a process that has imported it already: most of what a start costs is imports.

A copy is what the command is: a process of its own, with its own arguments, variables, folder and output, in which
`penstock.cli.main` runs from its first line to its exit status, and which any signal ends. What a copy cannot show is
that the command starts at all: within `installed`, it is started as people start it.

Run as a program, this is the process that is copied: a message on a socket begins a copy.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import IO, NamedTuple, NoReturn, TypeAlias

ROOT = Path(__file__).parents[2]
LONGEST_MESSAGE_BYTES = 128 * 1024
ANSWER_SECONDS = 240.0
IMPORTED = (
    "alembic.command",
    "alembic.op",
    "encodings.idna",
    "httpcore",
    "penstock.antivirus.clamav.scanner",
    "penstock.antivirus.icap.scanner",
    "penstock.antivirus.limit_proof",
    "penstock.antivirus.yara",
    "penstock.app.antivirus",
    "penstock.app.desk",
    "penstock.app.postprocessing",
    "penstock.app.steps",
    "penstock.blobs.local",
    "penstock.blobs.objects.appender",
    "penstock.blobs.objects.assembly",
    "penstock.blobs.objects.services",
    "penstock.blobs.objects.staging",
    "penstock.bus.local",
    "penstock.bus.nats",
    "penstock.cli.api",
    "penstock.cli.transfer.boards",
    "penstock.cli.transfer.continuing",
    "penstock.cli.transfer.job",
    "penstock.db.sqlite",
    "penstock.delivery.download",
    "penstock.delivery.elsewhere",
    "penstock.delivery.path",
    "penstock.server.serve",
    "penstock.server.single",
    "penstock.settings.load",
    "penstock.steps.virusscan",
    "penstock.store.nats_kv",
    "penstock.store.sql",
    "pydantic.v1",
    "sqlalchemy.dialects.sqlite",
    "sqlite3",
)
"""What commands import when they run. Nothing that has threads of its own, for a copy would lack them."""


class Copy:
    """What a test sees of a copy: as much of `subprocess.Popen` as tests use."""

    def __init__(self, arguments: Sequence[str], pid: int, report: socket.socket) -> None:
        self.args = ["penstock", *arguments]
        self.pid = pid
        self.returncode: int | None = None
        self._report = report

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        """Take the exit status, if it comes in time."""
        if self.returncode is None and select.select([self._report], [], [], timeout)[0]:
            told = self._report.recv(64)
            self._report.close()
            assert told, f"nobody knows how {' '.join(self.args)} ended"
            self.returncode = int(told)
        return self.returncode


Process: TypeAlias = Copy | subprocess.Popen[bytes]
INSTALLED = (sys.executable, "-m", "penstock")
IS_INSTALLED = ContextVar("IS_INSTALLED", default=False)


@contextmanager
def installed() -> Iterator[None]:
    """Have services that are started here be the installed command; for those that are about starting it, or memory."""
    before = IS_INSTALLED.set(True)
    try:
        yield
    finally:
        IS_INSTALLED.reset(before)


class Original:
    """The process that is copied; it is there from the first copy on."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._starting = threading.Lock()

    def begin(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | None,
        out: IO[bytes],
        err: IO[bytes],
    ) -> Copy:
        """Begin a copy that does what `penstock` with these arguments does."""
        order = {"arguments": list(arguments), "environment": dict(environment), "folder": str(folder or Path.cwd())}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            files = [out.fileno(), err.fileno(), theirs.fileno()]
            socket.send_fds(self._started(), [json.dumps(order).encode()], files)
        ours.settimeout(ANSWER_SECONDS)
        told = ours.recv(64)
        assert told, "the process that is copied has ended"
        return Copy(arguments, int(told), ours)

    def end(self) -> None:
        if self._process is not None and self._channel is not None:
            self._channel.close()
            self._process.wait(timeout=ANSWER_SECONDS)
            self._process = self._channel = None

    def _started(self) -> socket.socket:
        with self._starting:
            if self._channel is None:
                self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", "tests.servers.copies", str(theirs.fileno())],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        cwd=ROOT,
                        env=without_settings(),
                        pass_fds=[theirs.fileno()],
                    )
            return self._channel


ORIGINAL = Original()


def without_settings() -> dict[str, str]:
    """The variables of this process, but for those that Penstock reads."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}


_SETTINGS = ("PENSTOCK_", "POSTPROCESSING_", "ANTIVIRUS_", "OCIS_", "OC_", "STORAGE_USERS_")


def start(
    arguments: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    folder: Path | None = None,
) -> Process:
    """Start `penstock …`, which writes into a log; do not wait for it."""
    with log.open("ab") as out:
        if IS_INSTALLED.get():
            return subprocess.Popen(
                [*INSTALLED, *arguments], cwd=folder, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        return ORIGINAL.begin(arguments, environment, folder, out, out)


def run(
    arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run `penstock …` to its end; return its exit status and what it printed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = ORIGINAL.begin(arguments, environment, folder, out, err)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        printed, complained = (os.pread(file.fileno(), 2**26, 0).decode() for file in (out, err))
    return subprocess.CompletedProcess(process.args, status, printed, complained)


def main() -> None:
    from penstock.cli import main as command  # before the module of that name, which takes its place
    from penstock.cli.main import build

    for name in IMPORTED:
        import_module(name)
    build()
    assert len(os.listdir("/proc/self/task")) == 1, "a copy would lack the other threads"
    gc.collect()
    gc.freeze()  # what is never looked at again is shared by all copies
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        begun = next((order for order in _orders(channel) if order.begin()), None)
    if begun is not None:
        begun.become()
        command()


class _Order(NamedTuple):
    """What came in a message."""

    text: bytes
    files: list[int]
    """Where it writes to: standard output, standard error, and how it ended."""

    def begin(self) -> bool:
        """Begin a copy, and beside it another one that tells how it ended; return whether this is now the first."""
        if os.fork():
            for file in self.files:
                os.close(file)
            return False
        pid = os.fork()
        if pid:
            _watch(pid, self.files[-1])
        return True

    def become(self) -> None:
        """Have this process be as if it had just been started."""
        wanted = json.loads(self.text)
        for number, file in enumerate(self.files[:2], start=1):
            os.dup2(file, number)
        for file in self.files:
            os.close(file)
        os.environ.clear()
        os.environ.update(wanted["environment"])
        time.tzset()
        tempfile.tempdir = None  # it is looked up in the variables once
        os.chdir(wanted["folder"])
        sys.argv = ["penstock", *wanted["arguments"]]


def _orders(channel: socket.socket) -> Iterator[_Order]:
    """Yield what comes until nobody is there any more."""
    while True:
        text, files, _, _ = socket.recv_fds(channel, LONGEST_MESSAGE_BYTES, 3, socket.MSG_CMSG_CLOEXEC)
        if not text:
            return
        with suppress(ChildProcessError):  # the watchers that have ended
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        yield _Order(text, files)


def _watch(pid: int, report: int) -> NoReturn:
    try:
        with socket.socket(fileno=report) as telling:
            telling.send(str(pid).encode())
            os.closerange(3, report)
            _, status = os.waitpid(pid, 0)
            with suppress(BrokenPipeError):  # the test has ended before
                telling.send(str(os.waitstatus_to_exitcode(status)).encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
