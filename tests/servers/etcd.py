"""A real etcd, started for the tests: one node, or a cluster of three."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.ports import free_ports
from tests.servers.process import halt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.nats import Certificate

START_SECONDS = 120.0
STOP_SECONDS = 60.0
PORTS_TRIED = 5


class EtcdNode:
    """One etcd; what is in it survives `kill` and `start_again`."""

    def __init__(self, folder: Path, *, name: str = "n0", certificate: Certificate | None = None) -> None:
        self.folder = folder
        self.certificate = certificate
        self.name = name
        self._log = folder / f"{name}.log"
        self.port = 0
        self.peer_port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{self.address}"

    @property
    def peer(self) -> str:
        return f"{self.name}=http://127.0.0.1:{self.peer_port}"

    def begin(self, cluster: str = "") -> None:
        """Start the process without waiting for it."""
        program = shutil.which("etcd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            pytest.fail("etcd is not installed; Debian has it in the package etcd-server")
        options = {
            "name": self.name,
            "data-dir": str(self.folder / self.name),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": f"http://127.0.0.1:{self.peer_port}",
            "initial-advertise-peer-urls": f"http://127.0.0.1:{self.peer_port}",
            "initial-cluster": cluster or self.peer,
        }
        if self.certificate is not None:
            options |= {"cert-file": str(self.certificate.certificate), "key-file": str(self.certificate.key)}
        self._options = [f"--{name}={value}" for name, value in options.items()]
        self._run(program)

    def choose_ports(self) -> None:
        self.port, self.peer_port = free_ports(2)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        """Have it answer nobody while its connections stay open, until `thaw`."""
        assert self.process is not None
        halt(self.process.pid)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in good order."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def start_again(self) -> None:
        """Start it on the same ports and data after it has ended, and wait until it serves."""
        assert self.process is not None
        self._run(str(self.process.args[0]))  # type: ignore[index]  # a list, as we have started it
        if not self.comes_up():
            pytest.fail(f"etcd did not come up again:\n{self.last_words()}")

    def comes_up(self) -> bool:
        """Wait until it serves; tell whether it does."""
        ends_at = time.monotonic() + START_SECONDS
        while time.monotonic() < ends_at and self.process is not None and self.process.poll() is None:
            try:
                with self._open(f"{self.url}/health") as answer:
                    if json.load(answer)["health"] == "true":
                        return True
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        return False

    def _run(self, program: str) -> None:
        with self._log.open("ab") as output:
            self.process = subprocess.Popen([program, *self._options], stdout=output, stderr=output)

    def call(self, path: str, request: dict[str, Any], *, token: str = "") -> dict[str, Any]:
        """Ask it for something, behind every client's back."""
        with self._open(f"{self.url}/v3/{path}", json.dumps(request).encode(), token) as answer:
            content: dict[str, Any] = json.load(answer)
            return content

    def _open(self, url: str, body: bytes | None = None, token: str = "") -> Any:
        tls = ssl.create_default_context(cafile=self.certificate.certificate) if self.certificate else None
        headers = {"Authorization": token} if token else {}
        asked = urllib.request.Request(url, body, headers)  # noqa: S310  # it is http
        return urllib.request.urlopen(asked, timeout=60, context=tls)  # noqa: S310  # it is http

    def put(self, key: bytes, value: bytes) -> None:
        self.call("kv/put", {"key": _text(key), "value": _text(value)})

    def remove(self, key: bytes) -> None:
        self.call("kv/deleterange", {"key": _text(key)})

    def content(self) -> dict[bytes, bytes]:
        """All keys with their values."""
        found = self.call("kv/range", {"key": _text(b"\0"), "range_end": _text(b"\0")}).get("kvs", [])
        return {base64.b64decode(one["key"]): base64.b64decode(one.get("value", "")) for one in found}

    def clear(self) -> None:
        """Remove all keys."""
        self.call("kv/deleterange", {"key": _text(b"\0"), "range_end": _text(b"\0")})

    def last_words(self) -> str:
        """What it wrote last, for the message of a test that fails."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""


@contextmanager
def running_etcd(folder: Path, *, certificate: Certificate | None = None) -> Iterator[EtcdNode]:
    """Run one node in an empty folder."""
    with running_cluster(folder, size=1, certificate=certificate) as (node,):
        yield node


@contextmanager
def running_cluster(folder: Path, *, size: int = 3, certificate: Certificate | None = None) -> Iterator[list[EtcdNode]]:
    """Run a cluster in an empty folder."""
    words = ""
    for _ in range(PORTS_TRIED):
        with ExitStack() as stack:
            nodes = [EtcdNode(folder, name=f"n{number}", certificate=certificate) for number in range(size)]
            for node in nodes:
                node.choose_ports()
            for node in nodes:
                stack.callback(node.stop)
                node.begin(",".join(one.peer for one in nodes))
            if all(node.comes_up() for node in nodes):
                yield nodes
                return
            words = "\n".join(node.last_words() for node in nodes)
        for node in nodes:
            shutil.rmtree(folder / node.name, ignore_errors=True)
        if "address already in use" not in words:  # somebody took the port between our looking and its listening
            break
    pytest.fail(f"etcd did not come up:\n{words}")


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
