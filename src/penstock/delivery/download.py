"""Fetching the bytes of an upload by HTTP from the address in its start event, as the Go services do it.

The address carries its own permission (a token in it), so it is never logged. Whoever can publish start events chooses
where we connect to: the bus must only be open to services that are trusted.

A transfer that breaks off, or stands still for too long, goes on from where it was, if the server can do that: what has
arrived is not fetched again.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

import aiohttp
import structlog
from aiohttp.http import HttpProcessingError

from .addresses import is_web_address, moved_to, origin_of, server_of
from .asking import as_given, asked_once
from .base import BytesGone, BytesUnavailable, DeliveryRefused
from .body import Patience, cut, in_time

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

    from ..events.types import StartPostprocessingStep

log = structlog.get_logger(__name__)

_CONNECT_SECONDS: Final = 10.0
STALL_LIMIT: Final = timedelta(seconds=60)
"""How long a transfer may stand still."""
_RESUMPTIONS: Final = 3
"""How often in a row a transfer is taken up again without getting on."""
_GETTING_ON_BYTES: Final = 1024 * 1024
_PAUSE_SECONDS: Final = 0.1
"""Before it is taken up the first time; doubled for each further time in a row."""
_PLAIN: Final = frozenset({"", "identity", "aws-chunked"})
"""How bytes may be coded: not at all. (The last one is what some object stores say about how they were sent there.)"""
_MOVED: Final = (301, 302, 303, 307, 308)
_REDIRECTS: Final = 5
_IDLE_SECONDS: Final = 2.0
"""How long a connection is kept for the next download: not for as long as servers keep theirs, so that we end it."""
_AHEAD_BYTES: Final = 128 * 1024
"""Twice as much of a transfer, and what the network brings at once (256 KiB), may lie in memory before it is read.

aiohttp drops it when the connection breaks meanwhile; that much is fetched again then. More makes nothing faster.
"""
_FIELD_BYTES: Final = 64 * 1024
"""The longest line in the head of an answer: a server may send us to a long address."""
_BROKEN: Final = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError, OSError)
"""What may go well when the transfer is taken up again. (An answer that is no HTTP is a `ClientResponseError`.)"""


class Downloads:
    """Fetches bytes. Open it before use.

    Args:
        tls: how servers have to prove who they are; False believes any.
        stall_limit: how long a transfer may stand still.
    """

    def __init__(self, *, tls: ssl.SSLContext | bool = True, stall_limit: timedelta = STALL_LIMIT) -> None:
        self._tls = tls
        stall = stall_limit.total_seconds()
        self._stall_seconds = stall
        self._connect_seconds = min(_CONNECT_SECONDS, stall)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_IDLE_SECONDS, use_dns_cache=False, ssl=self._tls
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(asked_once,),
            auto_decompress=False,
            # aiohttp's own limit on silence goes on while nobody reads, and so would count the reader's time.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_seconds),
            read_bufsize=_AHEAD_BYTES,
            max_line_size=_FIELD_BYTES,
            max_field_size=_FIELD_BYTES,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    async def pieces(
        self, wanted: StartPostprocessingStep, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `stop` (None: to the end), as they come.

        It ends without an error only when it has given all of them; and, where that is to the end of the upload, when
        there are no more than were announced.

        Raises:
            DeliveryRefused: the address is not one of the web.
            BytesUnavailable: they could not be fetched, or not in time, or are more or fewer than announced.
        """
        if not is_web_address(wanted.url):
            raise DeliveryRefused("the address in the start event is not an http:// or https:// URL")
        end = wanted.filesize if stop is None else min(stop, wanted.filesize)
        position, tried, began_with = start, 0, _Version()
        patience = Patience(end - start, self._stall_seconds)
        while True:
            before = position
            try:
                async with aclosing(self._once(wanted, position, end, patience, began_with)) as pieces:
                    async for piece in pieces:
                        position += len(piece)
                        yield piece
            except _BROKEN as error:
                tried = 1 if position - before >= _GETTING_ON_BYTES else tried + 1
                # What never began is for the step's next attempt; and so is what does not get on.
                if position == start or tried > _RESUMPTIONS or patience.left_seconds <= 0:
                    raise BytesUnavailable(_failure(wanted.url, error)) from error
                log.info("download_taken_up", server=server_of(wanted.url), upload=wanted.upload_id, offset=position)
                await asyncio.sleep(_PAUSE_SECONDS * 2**tried)
            except (aiohttp.ClientError, ValueError) as error:  # what cannot be asked
                raise BytesUnavailable(_failure(wanted.url, error)) from error
            else:
                return

    async def _once(
        self, wanted: StartPostprocessingStep, start: int, end: int, patience: Patience, began_with: _Version
    ) -> AsyncGenerator[bytes, None]:
        async with AsyncExitStack() as stack:
            answer = await self._answer(stack, wanted, start, end)
            position = _offset(answer, wanted, start)
            began_with.check(answer, wanted)
            body = await stack.enter_async_context(aclosing(in_time(answer, patience)))
            async for piece in cut(body, wanted, position, start, end):
                yield piece

    async def _answer(
        self, stack: AsyncExitStack, wanted: StartPostprocessingStep, start: int, end: int
    ) -> aiohttp.ClientResponse:
        """Ask, and go where the server says that the bytes are."""
        headers = {"Accept-Encoding": "identity"}
        if (start, end) != (0, wanted.filesize) and start < end:
            headers["Range"] = f"bytes={start}-{end - 1}"
        tokens = _tokens(wanted)
        url = wanted.url
        for _ in range(_REDIRECTS + 1):
            # Whoever the server sends us to has no business with the tokens that were meant for itself.
            more = tokens if origin_of(url) == origin_of(wanted.url) else {}
            asking = self._session.get(as_given(url), headers=headers | more, allow_redirects=False)
            async with asyncio.timeout(self._connect_seconds + self._stall_seconds):
                answer = await stack.enter_async_context(asking)
            if answer.status not in _MOVED or "Location" not in answer.headers:
                return answer
            url = moved_to(url, answer.headers["Location"])
        raise BytesUnavailable(f"{server_of(wanted.url)} sent us from one address to the next {_REDIRECTS} times")


def _tokens(wanted: StartPostprocessingStep) -> dict[str, str]:
    """Return the headers that a scan on demand has to come with; the address of an upload needs none."""
    if wanted.upload_id:
        return {}
    return {
        name: value
        for name, value in (("X-Reva-Transfer", wanted.token), ("X-Access-Token", wanted.reva_token))
        if value
    }


def _offset(answer: aiohttp.ClientResponse, wanted: StartPostprocessingStep, start: int) -> int:
    """Return where in the file the body begins.

    Raises:
        BytesUnavailable: this is no answer with the bytes, or with other ones.
    """
    if answer.status == HTTPStatus.GONE:
        raise BytesGone(
            f"{server_of(wanted.url)} answered 410: the step is over, the upload is gone, or "
            "its address was good for one reading"
        )
    if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise BytesUnavailable(f"{server_of(wanted.url)} answered {answer.status} when asked for the bytes")
    coding = ", ".join(answer.headers.getall("Content-Encoding", ())).strip().lower()
    if coding not in _PLAIN:
        raise BytesUnavailable(f"{server_of(wanted.url)} delivers the bytes as {coding[:40]!r}, which nobody asked for")
    if answer.status == HTTPStatus.OK:
        return 0
    told = answer.headers.get("Content-Range", "")
    asked = "Range" in answer.request_info.headers and told.startswith(f"bytes {start}-")
    if asked and told.endswith((f"/{wanted.filesize}", "/*")):
        return start
    raise BytesUnavailable(f"{server_of(wanted.url)} delivers {told[:100]!r}, which is not what it was asked for")


class _Version:
    """Which state of a file a transfer began with, as its server calls it (ETag): the rest has to be of the same."""

    def __init__(self) -> None:
        self._tag: str | None = None

    def check(self, answer: aiohttp.ClientResponse, wanted: StartPostprocessingStep) -> None:
        """Take note of it, or compare.

        Raises:
            BytesUnavailable: it is another one by now.
        """
        tag = answer.headers.get("ETag")
        if None not in (tag, self._tag) and tag != self._tag:
            raise BytesUnavailable(f"{server_of(wanted.url)} has another file now than the transfer began with")
        self._tag = self._tag or tag


def _failure(url: str, error: Exception) -> str:
    reason = _reason(error)
    hint = ""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        hint = (
            ". Have this machine trust the certificate's issuer (SSL_CERT_FILE), or set "
            "PENSTOCK_DELIVERY_TLS_INSECURE=true to take any"
        )
    return f"{server_of(url)} did not deliver the bytes: {reason}{hint}"


def _reason(error: Exception) -> str:
    """Say why without the address, which aiohttp's own words often repeat."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "it cannot be reached in time"
        case aiohttp.ClientConnectorError(os_error=cause):
            return str(cause)
        case aiohttp.ClientPayloadError(__cause__=HttpProcessingError(message=message)):
            return message
        case aiohttp.ClientResponseError():
            return "what it answers is not HTTP"
        case aiohttp.ClientPayloadError():
            return "the transfer broke off"
        case TimeoutError():
            return str(error) or "no answer in time"
        case aiohttp.ClientConnectionError() | OSError():
            return str(error) or type(error).__name__
    return "the address, or what it leads to, cannot be asked"
