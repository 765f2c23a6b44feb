"""A real nats-server with JetStream, started for the tests on a port of its own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.jetstream import NatsServers, connect

from .process import halt

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 120.0
STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for 127.0.0.1 that has signed itself."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        program = shutil.which("openssl")
        if program is None:
            pytest.fail("openssl is not installed; Debian has it in the package openssl")
        made = cls(folder / "certificate.pem", folder / "key.pem")
        subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        files = ["-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run([program, "req", "-x509", *kind, *subject, *files], check=True, capture_output=True, timeout=120)
        return made


class NatsServer:
    """One nats-server; what is in its JetStream survives `kill` and `start_again`."""

    def __init__(
        self,
        folder: Path,
        *,
        certificate: Certificate | None = None,
        user: tuple[str, str] | None = None,
        more: str = "",
    ) -> None:
        """`more` is added to the configuration as it is, in the server's own language."""
        self.folder = folder
        self.certificate = certificate
        self.user = user
        self.port = -1  # the server's word for: any that is free
        self._more = more
        self._log = folder / "nats.log"
        self.process = self._start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def servers(self) -> NatsServers:
        """What a client needs to be let in."""
        username, password = self.user or ("", "")
        return NatsServers(
            (self.endpoint,),
            username=username,
            password=password,
            tls=self.certificate is not None,
            tls_ca_file=self.certificate.certificate if self.certificate else None,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Have it answer nobody while its connections stay open, until `thaw`."""
        halt(self.pid)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in good order."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def start_again(self) -> None:
        """Start it on the same port and folder after it has ended."""
        self.process = self._start()

    def lose_everything(self) -> None:
        """Remove what JetStream has stored; only while it does not run."""
        shutil.rmtree(self.folder / "jetstream", ignore_errors=True)

    async def delete_streams(self) -> None:
        """Delete all streams, for a test that wants an empty server."""
        async with connect(self.servers, name="test") as client:
            manager = client.jsm()
            for stream in await manager.streams_info():
                await manager.delete_stream(stream.config.name or "")

    def _start(self) -> subprocess.Popen[bytes]:
        program = shutil.which("nats-server", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            pytest.fail("nats-server is not installed; Debian has it in the package nats-server")
        configuration = self.folder / "nats.conf"
        configuration.write_text(self._configuration())
        with self._log.open("ab") as output:
            process = subprocess.Popen([program, "-c", str(configuration)], stdout=output, stderr=output)
        ends_at = time.monotonic() + START_SECONDS
        while not self._is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > ends_at:
                process.kill()
                process.wait()
                pytest.fail(f"nats-server did not come up:\n{self.last_words()}")
            time.sleep(0.01)
        return process

    def _configuration(self) -> str:
        lines = [
            f'listen: "127.0.0.1:{self.port}"',
            f'ports_file_dir: "{self.folder}"',
            f'jetstream {{ store_dir: "{self.folder}" }}',
            self._more,
        ]
        if self.certificate is not None:
            files = f'cert_file: "{self.certificate.certificate}", key_file: "{self.certificate.key}"'
            lines.append(f"tls {{ {files}, timeout: 60 }}")
        if self.user is not None:
            lines.append(f'authorization {{ user: "{self.user[0]}", password: "{self.user[1]}", timeout: 60 }}')
        return "\n".join(lines)

    def _is_ready(self, pid: int) -> bool:
        """Tell whether it serves, JetStream included; note its port."""
        ports = self.folder / f"nats-server_{pid}.ports"
        try:
            self.port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
            return bool(self._greeting().get("jetstream"))
        except (OSError, ValueError):
            return False

    def _greeting(self) -> dict[str, Any]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            line = connection.makefile("rb").readline()
        greeting: dict[str, Any] = json.loads(line.removeprefix(b"INFO "))
        return greeting

    def last_words(self) -> str:
        """What it wrote last, for the message of a test that fails."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""


@contextmanager
def running_nats(
    folder: Path, *, certificate: Certificate | None = None, user: tuple[str, str] | None = None, more: str = ""
) -> Iterator[NatsServer]:
    """Run nats-server in an empty folder."""
    server = NatsServer(folder, certificate=certificate, user=user, more=more)
    try:
        yield server
    finally:
        server.stop()
