"""A real c-icap with its module virus_scan over a real clamd, as Debian packages them."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from .ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .clamd import Clamd

START_SECONDS = 120.0
STOP_SECONDS = 60.0
ALL_TYPES = "TEXT DATA EXECUTABLE ARCHIVE GRAPHICS STREAM DOCUMENT"
DEBIAN_TYPES = "TEXT DATA EXECUTABLE ARCHIVE GIF JPEG MSOFFICE"


class Cicap:
    """One c-icap of our own, in front of a clamd that runs already."""

    def __init__(self, folder: Path, clamd: Clamd, *, types: str, max_object_size: str) -> None:
        self.folder = folder
        self.clamd = clamd
        [self.port] = free_ports(1)
        self.url = f"icap://127.0.0.1:{self.port}"
        (folder / "tmp").mkdir()
        self._log = folder / "server.log"
        self._configuration = folder / "c-icap.conf"
        self._configuration.write_text(self._settings(types, max_object_size))
        self.process = self._start()

    def pids(self) -> list[int]:
        """The process and those that it has started."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [self.process.pid, *(child.pid for child in children)]

    def kill(self) -> None:
        """End all of it as a crash would."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def start_again(self) -> None:
        """Start it on the same port after it has ended."""
        for left in (self.folder / "tmp").iterdir():
            left.unlink()
        self.process = self._start()

    def _settings(self, types: str, max_object_size: str) -> str:
        found = glob.glob("/usr/lib/*/c_icap/virus_scan.so")
        if not found:
            pytest.fail("c-icap's virus_scan is not installed; Debian has it in the package libc-icap-mod-virus-scan")
        user = list[str]()
        with suppress(KeyError):  # in containers, not everybody has a name
            user.append(f"User {pwd.getpwuid(os.getuid()).pw_name}")
        modules = str(Path(found[0]).parent)
        return "\n".join(
            (
                f"Port 127.0.0.1:{self.port}",
                *user,
                f"PidFile {self.folder}/pid",
                f"CommandsSocket {self.folder}/commands",
                f"ServerLog {self._log}",
                f"AccessLog {self.folder}/access.log",
                f"TmpDir {self.folder / 'tmp'}",
                f"ModulesDir {modules}",
                f"ServicesDir {modules}",
                "TemplateDir /usr/share/c_icap/templates/",
                "LoadMagicFile /etc/c-icap/c-icap.magic",
                "StartServers 1",
                "MaxServers 1",
                "ThreadsPerChild 12",
                "MinSpareThreads 1",
                "MaxSpareThreads 12",
                "MaxRequestsPerChild 0",
                "Service echo srv_echo.so",
                "Module common clamd_mod.so",
                f"clamd_mod.ClamdSocket {self.clamd.socket_path}",
                "Service antivirus_module virus_scan.so",
                "ServiceAlias avscan virus_scan?allow204=on&sizelimit=off&mode=simple",
                f"virus_scan.ScanFileTypes {types}",
                "virus_scan.SendPercentData 0",
                f"virus_scan.MaxObjectSize {max_object_size}",
                "virus_scan.DefaultEngine clamd",
                "",
            )
        )

    def _start(self) -> subprocess.Popen[bytes]:
        program = shutil.which("c-icap", path="/usr/bin:/usr/sbin:/usr/local/bin")
        if program is None:
            pytest.fail("c-icap is not installed; Debian has it in the package c-icap")
        with (self.folder / "c-icap.out").open("ab") as output:
            command = [program, "-N", "-f", str(self._configuration)]
            process = subprocess.Popen(command, stdout=output, stderr=output)
        ends_at = time.monotonic() + START_SECONDS
        while not self._answers():
            if process.poll() is not None or time.monotonic() > ends_at:
                process.kill()
                process.wait()
                pytest.fail(f"c-icap did not come up:\n{self.last_words()}")
            time.sleep(0.02)
        return process

    def _answers(self) -> bool:
        question = f"OPTIONS icap://127.0.0.1:{self.port}/avscan ICAP/1.0\r\nHost: x\r\n\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(question.encode())
                return connection.recv(64).startswith(b"ICAP/1.0 200")
        except OSError:
            return False

    def last_words(self) -> str:
        """What it wrote last, for the message of a test that fails."""
        files = (self.folder / "c-icap.out", self._log)
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in files if file.exists())


@contextmanager
def running_cicap(
    folder: Path, clamd: Clamd, *, types: str = ALL_TYPES, max_object_size: str = "2G"
) -> Iterator[Cicap]:
    """Run c-icap in an empty folder."""
    server = Cicap(folder, clamd, types=types, max_object_size=max_object_size)
    try:
        yield server
    finally:
        server.stop()
