"""Plays the storage that step services fetch bytes from: a web server whose every address is told how to behave."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .web import QuietHandler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is at one address."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    """The connection ends after so many bytes, though more are announced."""
    stalls: bool = False
    """It announces the body and never sends it, until the server ends."""
    ranges: bool = True
    """Whether it can deliver a part."""


class Storage:
    """The web server; runs while its context is open."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        """Path and headers, in lower case, of each request."""
        self.sent_bytes = 0
        self.ending = threading.Event()
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def put(self, path: str, body: bytes = b"", **how: Any) -> str:
        """Have something at an address; return the address."""
        self.pages[path] = Page(body=body, **how)
        return self.url(path)


@contextmanager
def running_storage() -> Iterator[Storage]:
    """Run a storage."""
    storage = Storage()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            storage.requests.append((self.path, headers))
            page = storage.pages.get(self.path, Page(status=404))
            with suppress(OSError):  # whoever asked has heard enough
                self._answer(page, headers.get("range", ""))

        def _answer(self, page: Page, wanted: str) -> None:
            body, status, more = page.body, page.status, dict(page.headers)
            if wanted and page.ranges and status == 200:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                part = body[int(first) : int(last) + 1]
                more["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
                body, status = part, 206
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.flush()
            if page.stalls:
                storage.ending.wait(120)
                self.close_connection = True
                return
            if page.cut_at is not None:
                self.close_connection = True
            rest = memoryview(body)[: page.cut_at]
            while rest:
                sent = self.connection.send(rest[: 1024 * 1024])
                storage.sent_bytes += sent
                rest = rest[sent:]

    with serving(Handler) as server:
        storage.port = server.server_port
        try:
            yield storage
        finally:
            storage.ending.set()
