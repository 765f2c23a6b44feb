"""What the routes outside of FastAPI share: requests and responses as plain ASGI, without a framework in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from ..uploads.errors import Disconnected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class Answer(msgspec.Struct, frozen=True):
    """A response that fits into memory."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the request's headers, names in lower case; of a repeated one the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def body_of(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the request's body as it arrives.

    Raises:
        Disconnected: the client went away before its end.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        if chunk:
            yield chunk
        more = message.get("more_body", False)


async def send_answer(send: Send, answer: Answer, *, head: bool = False) -> None:
    """Send a whole response; for HEAD requests without its body."""
    headers = dict(answer.headers)
    if answer.status != 204 and not head:
        headers.setdefault("Content-Length", str(len(answer.body)))
    await start(send, answer.status, headers)
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


async def start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Send status and headers; the body follows."""
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


def base_url(scope: Scope, headers: Mapping[str, str], public_url: str | None) -> str:
    """Return the server's address as the client knows it: as configured, or as the request names it."""
    if public_url:
        return public_url.rstrip("/")
    return f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}"
