"""The debug address of a service that runs by itself: `/healthz`, `/readyz`, `/metrics`, as the Go services have it.

And `/records`, which they do not have: what the service works on. Plain ASGI: the framework of the API would take a
third of such a service's memory.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING

from .asgi import Answer, Asgi, Receive, Scope, Send, headers_of, send_answer
from .probes import PROBES, TEXT
from .records import PATH, Recorded, send_records

if TYPE_CHECKING:
    from .probes import Observed

_GUARDED = ("/metrics", PATH)
_REFUSED = Answer(
    HTTPStatus.UNAUTHORIZED,
    {"WWW-Authenticate": "Bearer", **TEXT},
    b"Send the debug token: Authorization: Bearer TOKEN.\n",
)
_NOTHING = Answer(HTTPStatus.NOT_FOUND, TEXT, f"There is nothing here. Ask for {', '.join(PROBES)}.\n".encode())
_READ_ONLY = Answer(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD", **TEXT}, b"This can only be read.\n")


def build_debug(observed: Observed, token: str) -> Asgi:
    """Return the application; with a `token`, metrics and records are only for who sends it (RFC 6750, 2.1)."""
    expected = f"Bearer {token}".encode()

    def is_refused(path: str, scope: Scope) -> bool:
        given = headers_of(scope).get("authorization", "").encode("latin-1")
        return bool(token) and path in _GUARDED and not hmac.compare_digest(given, expected)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["type"] != "http":
            return
        path, head = scope["path"].rstrip("/"), scope["method"] == "HEAD"
        is_records = path == PATH and isinstance(observed, Recorded)
        if path not in PROBES and not is_records:
            await send_answer(send, _NOTHING, head=head)
        elif scope["method"] not in ("GET", "HEAD"):
            await send_answer(send, _READ_ONLY)
        elif is_refused(path, scope):
            await send_answer(send, _REFUSED, head=head)
        elif isinstance(observed, Recorded) and is_records:
            await send_records(observed, scope, send, is_known=bool(token))
        else:
            await send_answer(send, await PROBES[path](observed), head=head)

    return app
