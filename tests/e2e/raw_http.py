"""HTTP/1.1 by hand: what a well-behaved client would never send, and what it would not show."""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document, which says what was wrong and what to do."""
        assert self.headers["content-type"] == "application/problem+json"
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        assert {"type", "title", "code", "detail"} <= found.keys()
        return found


class Connection:
    """One connection; requests may be sent in pieces, or not to their end."""

    def __init__(self, port: int, timeout: float = 20) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def head(self, method: str, path: str, headers: Mapping[str, str | int] | None = None) -> None:
        """Send everything but the body."""
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        if not any(line.lower().startswith("host:") for line in lines):
            lines.append(f"Host: 127.0.0.1:{self.port}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one is its end."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def request(
        self, method: str, path: str, headers: Mapping[str, str | int] | None = None, body: bytes = b""
    ) -> Response:
        """Send a whole request; return the answer."""
        sent = dict(headers or {})
        if body:
            sent.setdefault("Content-Length", len(body))
        self.head(method, path, sent)
        self.send(body)
        return self.response(head=method == "HEAD")

    def response(self, *, head: bool = False) -> Response:
        """Read one answer, not passing over any `100 Continue`."""
        raw = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = raw.split("\r\n")
        status = int(first.split(" ", 2)[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        length = 0 if head or status in (100, 204, 304) else int(headers.get("content-length", 0))
        while len(self._buffer) < length:
            self._fill()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Response(status, headers, body)

    def at_end(self) -> bool:
        """Whether the server has closed the connection, and nothing else."""
        try:
            return not self._buffer and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while."""
        self.socket.settimeout(seconds)
        try:
            return not self._buffer and not self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(20)

    def reset(self) -> None:
        """Close with RST instead of FIN, as a crashed client does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._fill()
        found, self._buffer = self._buffer.split(end, 1)
        return found

    def _fill(self) -> None:
        received = self.socket.recv(65536)
        assert received, f"the server closed the connection after {self._buffer!r}"
        self._buffer += received


class TusClient:
    """Requests on a new connection each."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> Connection:
        return Connection(self.port)

    def request(
        self, method: str, path: str, headers: Mapping[str, str | int] | None = None, body: bytes = b""
    ) -> Response:
        with Connection(self.port) as connection:
            return connection.request(method, path, headers, body)

    def create(self, size: int, **headers: str) -> str:
        """Create an upload; return its path."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.request("POST", "/uploads/", {**TUS, "Upload-Length": size, **sent})
        assert response.status == 201, response
        return response.headers["location"].removeprefix(f"http://127.0.0.1:{self.port}")

    def patch(self, path: str, offset: int, body: bytes = b"", **headers: str) -> Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request(
            "PATCH", path, {**BYTES, "Upload-Offset": offset, "Content-Length": len(body), **sent}, body
        )

    def head(self, path: str) -> Response:
        return self.request("HEAD", path, TUS)

    def offset(self, path: str) -> int:
        response = self.head(path)
        assert response.status == 200, response
        return int(response.headers["upload-offset"])
