"""The debug address of a service that runs by itself: `/healthz`, `/readyz`, `/metrics`, as the Go services have it."""

from __future__ import annotations

import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI

from . import status
from .asgi import Answer, Asgi, Receive, Scope, Send, headers_of, send_answer

if TYPE_CHECKING:
    from .status import Observed

_GUARDED = "/metrics"
_REFUSED = Answer(
    HTTPStatus.UNAUTHORIZED,
    {"WWW-Authenticate": "Bearer", "Content-Type": "text/plain; charset=utf-8"},
    b"Send the debug token: Authorization: Bearer TOKEN.\n",
)


def build_debug(observed: Observed, token: str) -> Asgi:
    """Return the application; with a `token`, `/metrics` is only for who sends it (RFC 6750, 2.1)."""
    api = FastAPI(title="Penstock", docs_url=None, redoc_url=None, openapi_url=None)
    api.include_router(status.router(observed))
    expected = f"Bearer {token}".encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if token and scope["type"] == "http" and scope["path"].rstrip("/") == _GUARDED:
            given = headers_of(scope).get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, expected):
                await send_answer(send, _REFUSED)
                return
        await api(scope, receive, send)

    return app
