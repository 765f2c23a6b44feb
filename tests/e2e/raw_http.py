"""HTTP/1.1 by hand: what a well-behaved client would never send, and what it would not show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.servers.connection import BareConnection

if TYPE_CHECKING:
    from tests.servers.connection import Headers

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


class Connection(BareConnection):
    """One connection; requests may be sent in pieces, or not to their end."""

    def head(self, method: str, path: str, headers: Headers | None = None) -> None:
        """Send everything but the body."""
        self.begin(method, path, headers or {})

    def request(self, method: str, path: str, headers: Headers | None = None, body: bytes = b"") -> Response:
        """Send a whole request; return the answer."""
        sent = dict(headers or {})
        if body:
            sent.setdefault("Content-Length", len(body))
        self.begin(method, path, sent)
        self.send(body)
        return self.response(head=method == "HEAD")

    def response(self, *, head: bool = False) -> Response:
        """Read one answer, not passing over any `100 Continue`."""
        first, pairs = self.read_head()
        status, headers = int(first.split(" ", 2)[1]), dict(pairs)
        length = 0 if head or status in (100, 204, 304) else int(headers.get("content-length", 0))
        return Response(status, headers, self.take(length))


class TusClient:
    """Requests on a new connection each."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> Connection:
        return Connection(self.port)

    def request(self, method: str, path: str, headers: Headers | None = None, body: bytes = b"") -> Response:
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
