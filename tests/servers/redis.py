"""Real redis-servers, alone or as a master with replicas and sentinels, started for the tests on ports of their own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
import redis

from .ports import free_port
from .process import halt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_SECONDS = 120.0
STOP_SECONDS = 60.0
_PORTS_TRIED: Final = 5
"""A port that is free now may be taken by another test's server a moment later."""

MASTER: Final = "uploads"
"""What the sentinels call the master."""
_HURRIED: Final = {
    "ask-period": 100,
    "info-period": 100,
    "ping-period": 400,  # who has not answered for five of them is not chosen as the next master
    "publish-period": 100,
    "min-link-reconnect-period": 1000,
    "tilt-trigger": 20_000,  # a busy machine must not make them think that the clock has jumped
    "tilt-period": 1000,
}


class RedisProcess:
    """One process of the program, on a port and in a folder that outlive it."""

    def __init__(
        self, folder: Path, *arguments: str, settings: str = "", tls: bool = False, password: str = ""
    ) -> None:
        """With `tls` its port speaks nothing else; `settings` then names the certificate.

        `password` is for `ask` and `client`, where `settings` require one.
        """
        folder.mkdir(exist_ok=True)
        self._tls = tls
        self._password = password if "requirepass" in settings else None
        self.folder = folder
        self.port = 0
        self._arguments = arguments
        self._settings = settings
        self._log = folder / "redis.log"
        self.process = self._start_somewhere()

    @property
    def node(self) -> str:
        """As operators write it in POSTPROCESSING_STORE_NODES."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def client(self, **options: Any) -> redis.Redis:
        """A client for looking behind the store's back; waits for its answers for a while."""
        return redis.Redis(host="127.0.0.1", port=self.port, password=self._password, socket_timeout=60, **options)

    def ask(self, *words: str | int, **options: Any) -> Any:
        """Run one command on a connection of its own."""
        with self.client(**options) as client:
            return client.execute_command(*words)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Have it stand still, with its connections open."""
        halt(self.pid)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, in the way that is left when it does not end by itself."""
        self.go_on()
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def start_again(self) -> None:
        """Start it on the same port with what it has on its disk, after it has ended."""
        self.process = self._start()
        self._wait_until_it_answers()

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""

    def _start_somewhere(self) -> subprocess.Popen[bytes]:
        for _ in range(_PORTS_TRIED):
            self.port = free_port()
            port = "port 0\ntls-port" if self._tls else "port"
            self._configuration.write_text(
                f"{port} {self.port}\nbind 127.0.0.1\ndir {self.folder}\nlogfile {self._log}\n{self._settings}"
            )
            self.process = self._start()
            if self._answers_or_has_ended():
                return self.process
        pytest.fail(f"redis-server did not come up:\n{self.last_words()}")

    @property
    def _configuration(self) -> Path:
        return self.folder / "redis.conf"  # sentinels and replicas write into it

    def _start(self) -> subprocess.Popen[bytes]:
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("redis-server is not installed; Debian has it in the package redis-server")
        return subprocess.Popen([program, str(self._configuration), *self._arguments], stdout=subprocess.DEVNULL)

    def _wait_until_it_answers(self) -> None:
        if not self._answers_or_has_ended():
            pytest.fail(f"redis-server did not come up again:\n{self.last_words()}")

    def _answers_or_has_ended(self) -> bool:
        ends_at = time.monotonic() + START_SECONDS
        while time.monotonic() < ends_at:
            if self.process.poll() is not None:
                return False
            if self._answers():
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _answers(self) -> bool:
        """It is ready, asks for a password, or wants to speak TLS."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                if self._tls:
                    return True
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


class RedisWithSentinels:
    """A master, replicas that follow it, and three sentinels that make one of them the master when it is gone."""

    def __init__(
        self,
        folder: Path,
        *,
        replicas: int = 1,
        settings: str = "",
        watch: str = "",
        password: str = "",
        down_after_milliseconds: int = 1000,
    ) -> None:
        """`settings` are for the servers, `watch` for the sentinels; any of them may ask for `password`."""
        folder.mkdir(exist_ok=True)
        self.servers = [RedisProcess(folder / "master", settings=_DATA + settings, password=password)]
        self.sentinels: list[RedisProcess] = []
        try:
            first = self.servers[0]
            for number in range(replicas):
                follow = f"replicaof 127.0.0.1 {first.port}\n"
                self.servers.append(
                    RedisProcess(folder / f"replica{number}", settings=_DATA + settings + follow, password=password)
                )
            watch = (
                f"sentinel monitor {MASTER} 127.0.0.1 {first.port} 2\n"
                f"sentinel down-after-milliseconds {MASTER} {down_after_milliseconds}\n"
                f"sentinel failover-timeout {MASTER} 1500\n"
                f"{watch}"
            )
            for number in range(3):
                self.sentinels.append(
                    RedisProcess(folder / f"sentinel{number}", "--sentinel", settings=watch, password=password)
                )
        except BaseException:
            self.stop()
            raise

    @property
    def nodes(self) -> tuple[str, ...]:
        """As operators write them in POSTPROCESSING_STORE_NODES."""
        return tuple(f"{sentinel.node}/{MASTER}" for sentinel in self.sentinels)

    def master(self) -> RedisProcess:
        """The server that the sentinels call the master now."""
        _, port = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return next(server for server in self.servers if server.port == int(port))

    def hurry(self, *, publish_period_milliseconds: int = 2000) -> None:
        """Have the sentinels look often, and wait until they know each other and the replicas."""
        for sentinel in self.sentinels:
            for milliseconds in _HURRIED.items():
                sentinel.ask("SENTINEL", "DEBUG", *milliseconds)
        _wait(self._know_each_other, "the sentinels do not know each other and the replicas")
        for sentinel in self.sentinels:  # who says nothing for three of these is taken for disconnected
            sentinel.ask("SENTINEL", "DEBUG", "publish-period", publish_period_milliseconds)

    def stop(self) -> None:
        for process in [*self.sentinels, *self.servers]:
            process.stop()

    def _know_each_other(self) -> bool:
        for sentinel in self.sentinels:
            known = sentinel.ask("SENTINEL", "MASTER", MASTER)
            if (int(known[b"num-other-sentinels"]), int(known[b"num-slaves"])) != (2, len(self.servers) - 1):
                return False
            replicas = sentinel.ask("SENTINEL", "REPLICAS", MASTER)
            if any(replica[b"master-link-status"] != b"ok" for replica in replicas):
                return False
        return _online_replicas(self.master()) == len(self.servers) - 1


_DATA: Final = "appendonly yes\nappendfsync everysec\nsave ''\nrepl-diskless-sync-delay 0\n"


@contextmanager
def running_redis(folder: Path, settings: str = _DATA, *, tls: bool = False) -> Iterator[RedisProcess]:
    """Run one server that writes down what it is told, or is configured otherwise."""
    server = RedisProcess(folder, settings=settings, tls=tls)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running_sentinels(
    folder: Path, *, publish_period_milliseconds: int = 2000, **how: Any
) -> Iterator[RedisWithSentinels]:
    """Run a master with replicas and three sentinels that are quick to act; `how` is for `RedisWithSentinels`."""
    servers = RedisWithSentinels(folder, **how)
    try:
        servers.hurry(publish_period_milliseconds=publish_period_milliseconds)
        yield servers
    finally:
        servers.stop()


def _online_replicas(server: RedisProcess) -> int:
    with server.client() as client:
        info = client.info("replication")
    return sum(info[name]["state"] == "online" for name in info if name.startswith("slave") and name[5:].isdigit())


def _wait(check: Callable[[], bool], otherwise: str) -> None:
    ends_at = time.monotonic() + START_SECONDS
    while not check():
        if time.monotonic() > ends_at:
            pytest.fail(otherwise)
        time.sleep(0.02)
