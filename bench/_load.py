"""The load driver: tus over plain sockets, as cheap as it gets, so that the server is what is measured."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT_SECONDS = 600
_LOCATION = re.compile(rb"^location: *(?:https?://[^/\r]+)?(/[^ \r]*)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """A server under measurement."""

    name: str
    port: int
    path: str
    """Where uploads are created."""
    pid: int


def _request(connection: socket.socket, head: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    connection.sendall(head.encode() + body)
    return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """Read a response with its body; return status and headers."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError(f"the server closed the connection after {received!r}")
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    left = int(headers.get("content-length", 0)) - len(body)
    while left > 0:
        left -= len(connection.recv(65536))
    return int(lines[0].split()[1]), headers


def connect(target: Target) -> socket.socket:
    """Open a connection."""
    return socket.create_connection(("127.0.0.1", target.port), timeout=_TIMEOUT_SECONDS)


def create(connection: socket.socket, target: Target, size_bytes: int) -> str:
    """Create an upload; return its path."""
    status, headers = _request(connection, _create_head(target, size_bytes))
    if status != 201:
        raise RuntimeError(f"{target.name} answered {status} to the creation")
    location = headers["location"]
    return "/" + location.split("/", 3)[3] if "://" in location else location


def _create_head(target: Target, size_bytes: int) -> str:
    return (
        f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nTus-Resumable: 1.0.0\r\n"
        f"Upload-Length: {size_bytes}\r\nUpload-Metadata: filename YmVuY2guYmlu\r\nContent-Length: 0\r\n\r\n"
    )


def _patch_head(target: Target, path: str, length: int) -> str:
    return (
        f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )


def send_file(target: Target, file: Path) -> float:
    """Upload a file on one connection; return the seconds from the first byte to the answer."""
    size_bytes = file.stat().st_size
    with connect(target) as connection, file.open("rb") as source:
        path = create(connection, target, size_bytes)
        begin = time.perf_counter()
        connection.sendall(_patch_head(target, path, size_bytes).encode())
        connection.sendfile(source)
        status, _ = read_answer(connection)
        if status != 204:
            raise RuntimeError(f"{target.name} answered {status} to the body")
        return time.perf_counter() - begin


class SmallUploads:
    """Uploads a few bytes again and again, each time on a connection of its own: create, then patch.

    All that is the same for each is put together once: what this takes, the server does not get.
    """

    def __init__(self, target: Target, body: bytes) -> None:
        self._target = target
        self._address = ("127.0.0.1", target.port)
        self._create = _create_head(target, len(body)).encode()
        before, _, after = _patch_head(target, "*", len(body)).partition("*")
        self._patch, self._rest = before.encode(), after.encode() + body

    def send_one(self) -> None:
        """Upload once."""
        with socket.socket() as connection:
            connection.connect(self._address)
            connection.sendall(self._create)
            head = self._answer(connection, b"HTTP/1.1 201 ")
            path = _LOCATION.search(head)
            if path is None:
                raise RuntimeError(f"{self._target.name} does not say where the upload is: {head!r}")
            connection.sendall(self._patch + path[1] + self._rest)
            self._answer(connection, b"HTTP/1.1 204 ")

    def _answer(self, connection: socket.socket, begins: bytes) -> bytes:
        head = connection.recv(65536)
        while b"\r\n\r\n" not in head:
            more = connection.recv(65536)
            if not more:
                raise ConnectionError(f"the server closed the connection after {head!r}")
            head += more
        if not head.startswith(begins):
            raise RuntimeError(f"{self._target.name} answered {head!r}")
        return head
