"""tus over a bare connection; a response with a wrong frame is a failed test."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace

from tests.servers.connection import BareConnection, Headers

TUS: dict[str, str | int] = {"Tus-Resumable": "1.0.0"}
BYTES: dict[str, str | int] = {**TUS, "Content-Type": "application/offset+octet-stream"}
_BODILESS = (204, 304)


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


@dataclass(frozen=True)
class Response:
    status: int
    pairs: list[tuple[str, str]]
    """All headers as they came, names in lower case."""
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The value of a header that has to be there exactly once."""
        values = [value for key, value in self.pairs if key == name.lower()]
        assert len(values) == 1, f"{name}: {values} in {self}"
        return values[0]

    def __contains__(self, name: str) -> bool:
        return any(key == name.lower() for key, _ in self.pairs)

    def words(self, name: str) -> set[str]:
        """The members of a header that is a list, in lower case."""
        return {word.strip().lower() for word in self[name].split(",")}


class Connection(BareConnection):
    """One connection; what a test does with it is up to the test."""

    def exchange(self, method: str, target: str, headers: Headers, body: bytes = b"") -> Response:
        framed = {"Content-Length": len(body), **headers} if body or method in {"POST", "PATCH"} else headers
        self.begin(method, target, framed)
        self.send(body)
        return self.answer(to=method)

    def begin_patch(self, path: str, framing: Headers) -> None:
        """Begin a PATCH at byte 0, and return when the server takes its bytes: whoever asks from now on comes later."""
        self.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, "Expect": "100-continue", **framing})
        assert self.answer(to="PATCH").status == 100

    def answer(self, *, to: str) -> Response:
        """Read one answer; interim ones are answers too."""
        first, pairs = self.read_head()
        version, status, *_ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        response = Response(int(status), pairs, b"")
        if response.status < 200:
            return response
        return replace(response, body=self._body(response, to))

    def _body(self, response: Response, to: str) -> bytes:
        if to == "HEAD":
            return b""
        if response.status in _BODILESS:
            assert "content-length" not in response, f"a {response.status} with a Content-Length"
            assert "transfer-encoding" not in response, f"a {response.status} with a body"
            return b""
        if "transfer-encoding" in response:
            assert response["transfer-encoding"].lower() == "chunked"
            return self.take_chunks()
        return self.take(int(response["content-length"]))


class Client:
    """A tus client without any of its own mind: each request on a new connection."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.port = port
        self.base = f"http://127.0.0.1:{port}"
        self._source = source

    def connect(self) -> Connection:
        return Connection(self.port, source=self._source)

    def ask(self, method: str, target: str, headers: Headers | None = None, body: bytes = b"") -> Response:
        with self.connect() as connection:
            return connection.exchange(method, target, TUS if headers is None else headers, body)

    def post(self, headers: Headers | None = None, body: bytes = b"") -> Response:
        """Ask for a new upload; with nothing said, of ten bytes."""
        return self.ask(
            "POST", "/uploads/", {"Upload-Length": 10, **TUS} if headers is None else {**TUS, **headers}, body
        )

    def create(self, size: int | None = 10, headers: Headers | None = None) -> str:
        """Create an upload; return its path. Without a size, the length is deferred."""
        length: Headers = {"Upload-Defer-Length": 1} if size is None else {"Upload-Length": size}
        created = self.post({**length, **(headers or {})})
        assert created.status == 201, created
        return self.path(created)

    def path(self, created: Response) -> str:
        location = created["location"]
        assert location.startswith(f"{self.base}/"), location
        return location.removeprefix(self.base)

    def patch(self, path: str, offset: int | str, body: bytes = b"", headers: Headers | None = None) -> Response:
        return self.ask("PATCH", path, {**BYTES, "Upload-Offset": offset, **(headers or {})}, body)

    def head(self, path: str) -> Response:
        return self.ask("HEAD", path, TUS)

    def offset(self, path: str) -> int:
        response = self.head(path)
        assert response.status == 200, response
        return int(response["upload-offset"])

    def partial(self, body: bytes, *, sent: int | None = None) -> str:
        """Create a partial upload, and send it, or the first bytes of it."""
        path = self.create(len(body), {"Upload-Concat": "partial"})
        part = body if sent is None else body[:sent]
        if part:
            assert self.patch(path, 0, part).status == 204
        return path
