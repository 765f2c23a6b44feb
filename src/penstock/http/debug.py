"""The debug address of a service that runs by itself: `/healthz`, `/readyz`, `/metrics`, as the Go services have it.

Plain ASGI: the framework of the API would take a third of such a service's memory.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING

from .asgi import Answer, Asgi, Receive, Scope, Send, headers_of, send_answer
from .probes import PROBES, TEXT

if TYPE_CHECKING:
    from .probes import Observed

_GUARDED = "/metrics"
_REFUSED = Answer(
    HTTPStatus.UNAUTHORIZED,
    {"WWW-Authenticate": "Bearer", **TEXT},
    b"Send the debug token: Authorization: Bearer TOKEN.\n",
)
_NOTHING = Answer(HTTPStatus.NOT_FOUND, TEXT, f"There is nothing here. Ask for {', '.join(PROBES)}.\n".encode())
_READ_ONLY = Answer(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD", **TEXT}, b"This can only be read.\n")


def build_debug(observed: Observed, token: str) -> Asgi:
    """Return the application; with a `token`, `/metrics` is only for who sends it (RFC 6750, 2.1)."""
    expected = f"Bearer {token}".encode()

    def is_refused(path: str, scope: Scope) -> bool:
        given = headers_of(scope).get("authorization", "").encode("latin-1")
        return bool(token) and path == _GUARDED and not hmac.compare_digest(given, expected)

    async def answer(scope: Scope) -> Answer:
        path = scope["path"].rstrip("/")
        if path not in PROBES:
            return _NOTHING
        if scope["method"] not in ("GET", "HEAD"):
            return _READ_ONLY
        return _REFUSED if is_refused(path, scope) else await PROBES[path](observed)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["type"] == "http":
            await send_answer(send, await answer(scope), head=scope["method"] == "HEAD")

    return app
