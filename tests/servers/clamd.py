"""A real clamd, started for the tests: it knows EICAR and nothing else, so it is ready in a moment."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from penstock.antivirus.eicar import eicar

from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 120.0
STOP_SECONDS = 60.0
LIMIT_BYTES = 128 * 1024 * 1024
"""How large a file this clamd looks at, streamed or not."""


class Clamd:
    """One clamd of our own; ends with the context that started it."""

    def __init__(self, folder: Path, options: dict[str, str]) -> None:
        self.folder = folder
        self.socket_path = folder / "clamd.sock"
        self.port = free_port()
        self.unix_address = f"unix://{self.socket_path}"
        self.tcp_address = f"tcp://127.0.0.1:{self.port}"
        self._log = folder / "clamd.log"
        self._configuration = folder / "clamd.conf"
        self._options = options
        self._write_configuration()
        self.process = self._start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def temporary_files(self) -> list[Path]:
        """The streams that clamd is receiving and looking at."""
        return [path for path in (self.folder / "tmp").rglob("*") if path.is_file()]

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it, in the way that is left when it does not end by itself."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def start_again(self) -> None:
        """Start it on the same socket and port after it has ended."""
        for left in self.temporary_files():
            left.unlink()
        self.process = self._start()

    def know(self, content: bytes) -> None:
        """Have it find `content` and nothing else, from its next start or reload on."""
        # Name, any type of file, any offset, bytes. clamd adds ".UNOFFICIAL" to the name.
        (self.folder / "db" / "local.ndb").write_text(f"Eicar-Test-Signature:0:*:{content.hex()}\n")

    def reload(self) -> None:
        """Have it load its signatures again; wait until it has."""
        loaded = self._log.read_text().count("Database correctly reloaded")
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(b"zRELOAD\0")
            connection.recv(64)
        ends_at = time.monotonic() + START_SECONDS
        while self._log.read_text().count("Database correctly reloaded") == loaded:
            if time.monotonic() > ends_at:
                pytest.fail(f"clamd did not reload:\n{self.last_words()}")
            time.sleep(0.02)

    def set(self, **options: str) -> None:
        """Change its configuration, from its next start on."""
        self._options |= options
        self._write_configuration()

    def _write_configuration(self) -> None:
        database = self.folder / "db"
        if not database.exists():
            database.mkdir()
            (self.folder / "tmp").mkdir()
            self.know(eicar())
        settings = {
            "Foreground": "yes",
            "DatabaseDirectory": str(database),
            "TemporaryDirectory": str(self.folder / "tmp"),
            "LocalSocket": str(self.socket_path),
            "FixStaleSocket": "yes",
            "TCPAddr": "127.0.0.1",
            "TCPSocket": str(self.port),
            "LogFile": str(self._log),
            "SelfCheck": "0",
            "DisableCache": "yes",
            "MaxThreads": "4",
            "StreamMaxLength": str(LIMIT_BYTES),
            "MaxFileSize": str(LIMIT_BYTES),
            "MaxScanSize": str(LIMIT_BYTES),
        } | self._options
        self._configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def _start(self) -> subprocess.Popen[bytes]:
        program = shutil.which("clamd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            pytest.fail("clamd is not installed; Debian has it in the package clamav-daemon")
        output = (self.folder / "clamd.out").open("wb")
        with output:
            process = subprocess.Popen([program, "-c", str(self._configuration)], stdout=output, stderr=output)
        ends_at = time.monotonic() + START_SECONDS
        while not self._answers():
            if process.poll() is not None or time.monotonic() > ends_at:
                process.kill()
                process.wait()
                pytest.fail(f"clamd did not come up:\n{self.last_words()}")
            time.sleep(0.02)
        return process

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"zPING\0")
                return connection.recv(16) == b"PONG\0"
        except OSError:
            return False

    def last_words(self) -> str:
        """What it wrote last, for the message of a test that fails."""
        files = (self.folder / "clamd.out", self._log)
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in files if file.exists())


@contextmanager
def running_clamd(folder: Path, **options: str) -> Iterator[Clamd]:
    """Run clamd in an empty folder, with `options` in its configuration beside our own."""
    server = Clamd(folder, options)
    try:
        yield server
    finally:
        server.stop()
