"""What every request has to pass before anything looks at what it asks for; and more for those to the API.

The upload protocols look after their bodies themselves. The bodies of the API are read here, in whole, so that nobody
can fill the memory with one, or hold a request open with one that does not end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import InvalidRequest, PenstockError
from ..uploads.errors import Idle, TooLarge
from .asgi import Body, headers_of, send_answer
from .cors import is_foreign
from .problems import ForeignOrigin, UnknownHost, answer_to

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from .address import PublicAddress
    from .asgi import Asgi, Receive, Scope, Send
    from .hosts import Hosts

_READING: Final = ("GET", "HEAD", "OPTIONS")
_MOST_BYTES: Final = 1024 * 1024
_SECONDS: Final = 30.0


def only_as(hosts: Hosts, app: Asgi) -> Asgi:
    """Return an application that answers only under the names that are this server's."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        host = next((value for name, value in scope.get("headers", ()) if name == b"host"), b"").decode("latin-1")
        if scope["type"] == "http" and not hosts.answers(host, scope.get("client")):
            error = UnknownHost(
                f"Host: {host[:80]!r} is none of the names of this server. If it is one, add it to `allowed_hosts`; "
                "behind a proxy, add that to `trusted_proxies`."
            )
            await send_answer(send, answer_to(error), head=scope["method"] == "HEAD")
            return
        await app(scope, receive, send)

    return guarded


def only_small(address: PublicAddress, app: Asgi) -> Asgi:
    """Return an application that is given what changes something only from our own pages, and with a small body."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await app(scope, receive, send)
            return
        headers = headers_of(scope)
        try:
            _check_origin(headers, address.base(scope, headers))
            body = await _whole(Body(scope, headers, receive))
            _check_json(body)
        except PenstockError as error:
            await send_answer(send, answer_to(error))
            return
        await app(scope, _once(body, receive), send)

    return guarded


def _check_origin(headers: Mapping[str, str], base: str) -> None:
    origin = headers.get("origin")
    if origin is not None and is_foreign(origin, headers, base):
        raise ForeignOrigin(f"a page of {origin[:80]} may not change anything here; only a page of this server may.")


async def _whole(body: Body) -> bytes:
    """Return all of a body.

    Raises:
        TooLarge, Idle: it is larger, or takes longer, than any that there is a use for.
        Disconnected: it was cut off.
    """
    refusal = TooLarge(f"a request to the API has at most {_MOST_BYTES} bytes. Files are sent to /uploads/ or /files/.")
    if (body.length or 0) > _MOST_BYTES:
        raise refusal
    read = bytearray()
    try:
        async with asyncio.timeout(_SECONDS):
            while chunk := await body.read():
                read += chunk
                if len(read) > _MOST_BYTES:
                    raise refusal
    except TimeoutError as error:
        raise Idle(f"the request took more than {_SECONDS:g} s to arrive. Nothing was done.") from error
    return bytes(read)


def _check_json(body: bytes) -> None:
    """Make sure that a body is JSON, if there is one.

    The standard library, which reads it in the end, lets halves of surrogate pairs through, which nothing can keep.

    Raises:
        InvalidRequest: it is not.
    """
    try:
        if body:
            msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}. See /docs for what this address takes.") from error


def _once(body: bytes, receive: Receive) -> Receive:
    """Return what hands out a body that has been read, and then waits for the client to go away."""
    messages: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return again
