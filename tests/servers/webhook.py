"""Plays who wants to hear of alerts: a web server that keeps what is posted to it, and answers as it is told."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .web import QuietHandler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


class Webhook:
    """The web server; runs while its context is open."""

    def __init__(self) -> None:
        self.url = ""
        self.statuses: list[int] = []
        """With what the next requests are answered; then, and without any, 204."""
        self.posted: list[dict[str, Any]] = []
        """What was taken."""
        self.headers: list[dict[str, str]] = []
        """The headers of each request, in lower case."""


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    """Run one."""
    hook = Webhook()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.headers.append({name.lower(): value for name, value in self.headers.items()})
            status = hook.statuses.pop(0) if hook.statuses else 204
            if status < 300:
                hook.posted.append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as server:
        hook.url = f"{server.url}/hooks/s3cret?token=x"
        yield hook
