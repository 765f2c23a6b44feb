"""A web server that has the bytes of uploads, as the data gateway of a platform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .web import QuietHandler, serving


class BytesServer:
    """Serves what is put into `files`, by path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        """How often each path was asked for."""

    def put(self, name: str, content: bytes) -> str:
        """Have a file served; return its address."""
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


@contextmanager
def serving_bytes() -> Iterator[BytesServer]:
    """Serve on a port of its own."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            served.asked[self.path] += 1
            content = served.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

    with serving(Handler) as server:
        served = BytesServer(server.url)
        yield served
