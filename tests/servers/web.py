"""A web server in a thread of its own: what the servers that tests play are made of."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class QuietHandler(BaseHTTPRequestHandler):
    """Logs no requests."""

    def log_message(self, *arguments: object) -> None:
        del arguments


class WebServer(ThreadingHTTPServer):
    """Says nothing of clients that have gone: tests end with requests under way. Does not wait for these, either."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(handler: Callable[[Any, Any, WebServer], BaseHTTPRequestHandler]) -> Iterator[WebServer]:
    """Serve on a port of its own."""
    with WebServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
