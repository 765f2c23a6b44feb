"""A real PostgreSQL, started for the tests: one cluster, with a database for each test that wants one."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
from sqlalchemy import URL

from tests.servers.ports import free_ports
from tests.servers.process import halt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.nats import Certificate

START_SECONDS = 120.0
STOP_SECONDS = 60.0
PORTS_TRIED = 5
USER = "penstock"
PASSWORD = "s3cret, with ü@/:%"

# The operating system outlives the tests, so nothing has to reach the disk for a killed server to find it again.
SETTINGS = {
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "deadlock_timeout": "200ms",
}


class PostgresServer:
    """One PostgreSQL; what is in it survives `kill` and `start_again`."""

    def __init__(self, folder: Path, certificate: Certificate | None = None) -> None:
        self.folder = folder
        self._tls: dict[str, str] = {}
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._log = folder / "postgres.log"
        # It refuses to work for root.
        self._user = _unprivileged_user() if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._initialise()
        if certificate is not None:
            files = {"ssl_cert_file": certificate.certificate, "ssl_key_file": certificate.key}
            self._tls = {"ssl": "on"} | {name: str(self._own(path)) for name, path in files.items()}
        self._start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, database: str, *, password: str = PASSWORD) -> URL:
        """Where one of its databases is."""
        return URL.create(
            "postgresql", username=USER, password=password, host="127.0.0.1", port=self.port, database=database
        )

    def new_database(self) -> str:
        """Make a database with nothing in it; return its name."""
        self._databases += 1
        name = f"d{self._databases}"
        self.run("postgres", f"CREATE DATABASE {name}")
        return name

    def run(self, database: str, statement: str, *values: object) -> list[Any]:
        """Run a statement behind everybody's back; return the rows that it gives."""
        with self._connect(database) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """End all of its processes as a crash would."""
        assert self.process is not None
        self._signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Have it answer nobody while its connections stay open, until `thaw`."""
        assert self.process is not None
        halt(self.process.pid)  # from now on it starts no others
        halt(*(process.pid for process in self._processes()))

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _processes(self) -> list[psutil.Process]:
        """It and its children, each of which is in a group of its own."""
        assert self.process is not None
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self.process.pid)
            return [server, *server.children(recursive=True)]
        return []

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def stop(self) -> None:
        """End it without waiting for its clients, or for what it has not written yet."""
        if self.process is None or self.process.poll() is not None:
            return
        self.thaw()
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def start_again(self) -> None:
        """Start it on the same port and data after it has ended, and wait until it serves."""
        if not self._comes_up():
            pytest.fail(f"PostgreSQL did not come up again:\n{self.last_words()}")

    def _own(self, path: Path) -> Path:
        """Copy a file to where nobody but the server may read it, as it wants its key."""
        copy = self.folder / path.name
        shutil.copy(path, copy)
        copy.chmod(0o600)
        if self._user is not None:
            os.chown(copy, self._user.pw_uid, self._user.pw_gid)
        return copy

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self._user is not None:
            os.chown(password, self._user.pw_uid, self._user.pw_gid)
        options = ["--no-sync", f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256"]
        command = [_program("initdb"), "-D", str(self.folder / "data"), "-E", "UTF8", "--locale=C.UTF-8", *options]
        made = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=START_SECONDS, **self._as_user()
        )
        if made.returncode:
            pytest.fail(f"initdb failed:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")

    def _start(self) -> None:
        for _ in range(PORTS_TRIED):
            [self.port] = free_ports(1)
            if self._comes_up():
                return
            if "Address already in use" not in self.last_words():
                break
        pytest.fail(f"PostgreSQL did not come up:\n{self.last_words()}")

    def _comes_up(self) -> bool:
        """Start it and wait until it serves; tell whether it does."""
        settings = [f"--{name}={value}" for name, value in (SETTINGS | self._tls | {"port": str(self.port)}).items()]
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [_program("postgres"), "-D", str(self.folder / "data"), *settings],
                stdout=output,
                stderr=output,
                **self._as_user(),
            )
        ends_at = time.monotonic() + START_SECONDS
        while time.monotonic() < ends_at and self.process.poll() is None:
            with suppress(psycopg.OperationalError), self._connect("postgres"):
                return True
            time.sleep(0.02)
        self.kill()
        return False

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            dbname=database,
            autocommit=True,
            connect_timeout=60,
        )

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {"cwd": self.folder}
        return {"cwd": self.folder, "user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def last_words(self) -> str:
        """What it wrote last, for the message of a test that fails."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""


@contextmanager
def running_postgres(certificate: Certificate | None = None) -> Iterator[PostgresServer]:
    """Run PostgreSQL in a folder of its own: pytest's folders are for the user who runs the tests only."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    try:
        server = PostgresServer(folder, certificate)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    """Debian has the versions side by side, and none of them on the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(4))
    places = [str(path) for path in reversed(versions)] + os.environ.get("PATH", os.defpath).split(os.pathsep)
    program = shutil.which(name, path=os.pathsep.join(places))
    if program is None:
        pytest.fail(f"{name} is not installed; Debian has it in the package postgresql")
    return program


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.fail("PostgreSQL does not work for root, and there is neither a user postgres nor nobody")
