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
from typing import TYPE_CHECKING, Final, Self, cast
from urllib.parse import urlsplit

import httpx
import structlog

from .base import BytesGone, BytesUnavailable, DeliveryRefused

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator

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
_REDIRECTS: Final = 5
_WAIT_SECONDS: Final = 60.0
_SLOWEST_BYTES_PER_SECOND: Final = 256 * 1024
"""A server that is slower than this, after the first minute of waiting for it, is given up: it may trickle for ever."""


class Downloads:
    """Fetches bytes. Open it before use.

    Args:
        tls: how servers have to prove who they are; False believes any.
        stall_limit: how long a transfer may stand still.
    """

    def __init__(self, *, tls: ssl.SSLContext | bool = True, stall_limit: timedelta = STALL_LIMIT) -> None:
        self._tls = tls
        stall = stall_limit.total_seconds()
        self._timeout = httpx.Timeout(connect=min(_CONNECT_SECONDS, stall), read=stall, write=stall, pool=None)

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            verify=self._tls,
            timeout=self._timeout,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            follow_redirects=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.aclose()

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
        position, tried, patience = start, 0, _Patience(end - start)
        while True:
            before = position
            try:
                async with aclosing(self._once(wanted, position, end, patience)) as pieces:
                    async for piece in pieces:
                        position += len(piece)
                        yield piece
            except (httpx.TransportError, httpx.InvalidURL) as error:
                tried = 1 if position - before >= _GETTING_ON_BYTES else tried + 1
                # What never began is for the step's next attempt; and so is what does not get on.
                useless = isinstance(error, httpx.InvalidURL) or patience.left_seconds <= 0
                if position == start or tried > _RESUMPTIONS or useless:
                    raise BytesUnavailable(_failure(wanted.url, error)) from error
                log.info("download_taken_up", server=server_of(wanted.url), upload=wanted.upload_id, offset=position)
                await asyncio.sleep(_PAUSE_SECONDS * 2**tried)
            except httpx.HTTPError as error:
                raise BytesUnavailable(_failure(wanted.url, error)) from error
            else:
                return

    async def _once(
        self, wanted: StartPostprocessingStep, start: int, end: int, patience: _Patience
    ) -> AsyncGenerator[bytes, None]:
        async with AsyncExitStack() as stack:
            answer = await self._answer(stack, wanted, start, end)
            body = await stack.enter_async_context(aclosing(_patiently(answer, patience)))
            async for piece in _cut(body, wanted, _offset(answer, wanted, start), start, end):
                yield piece

    async def _answer(
        self, stack: AsyncExitStack, wanted: StartPostprocessingStep, start: int, end: int
    ) -> httpx.Response:
        """Ask, and go where the server says that the bytes are."""
        headers = {"Accept-Encoding": "identity"}
        if (start, end) != (0, wanted.filesize) and start < end:
            headers["Range"] = f"bytes={start}-{end - 1}"
        tokens = _tokens(wanted)
        url = asked = httpx.URL(wanted.url)
        for _ in range(_REDIRECTS + 1):
            # Whoever the server sends us to has no business with the tokens that were meant for itself.
            more = tokens if _origin(url) == _origin(asked) else {}
            answer = await stack.enter_async_context(self._client.stream("GET", url, headers=headers | more))
            if answer.next_request is None:
                return answer
            url = answer.next_request.url
        raise BytesUnavailable(f"{server_of(wanted.url)} sent us from one address to the next {_REDIRECTS} times")


def is_web_address(url: str) -> bool:
    """Tell whether this is an address that can be asked."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def server_of(url: str) -> str:
    """Return what of an address may be shown: not its path, which carries the permission."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _tokens(wanted: StartPostprocessingStep) -> dict[str, str]:
    """Return the headers that a scan on demand has to come with; the address of an upload needs none."""
    if wanted.upload_id:
        return {}
    return {
        name: value
        for name, value in (("X-Reva-Transfer", wanted.token), ("X-Access-Token", wanted.reva_token))
        if value
    }


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _offset(answer: httpx.Response, wanted: StartPostprocessingStep, start: int) -> int:
    """Return where in the file the body begins.

    Raises:
        BytesUnavailable: this is no answer with the bytes, or with other ones.
    """
    if answer.status_code == HTTPStatus.OK:
        return 0
    if answer.status_code == HTTPStatus.PARTIAL_CONTENT and "Range" in answer.request.headers:
        told = answer.headers.get("Content-Range", "")
        if told.startswith(f"bytes {start}-") and told.endswith((f"/{wanted.filesize}", "/*")):
            return start
        raise BytesUnavailable(f"{server_of(wanted.url)} delivers {told[:100]!r}, which is not what it was asked for")
    if answer.status_code == HTTPStatus.GONE:
        raise BytesGone(
            f"{server_of(wanted.url)} answered 410: the step is over, the upload is gone, or "
            "its address was good for one reading"
        )
    raise BytesUnavailable(f"{server_of(wanted.url)} answered {answer.status_code} when asked for the bytes")


class _Patience:
    """How long a transfer may still be waited for, however often it is taken up again."""

    def __init__(self, size_bytes: int) -> None:
        self.left_seconds = _WAIT_SECONDS + size_bytes / _SLOWEST_BYTES_PER_SECOND


async def _patiently(answer: httpx.Response, patience: _Patience) -> AsyncGenerator[bytes, None]:
    """Yield the body; give up when the time spent on waiting for it, and for nothing else, is out of proportion."""
    loop = asyncio.get_running_loop()
    async with aclosing(cast("AsyncGenerator[bytes, None]", answer.aiter_bytes())) as body:
        while True:
            asked_at = loop.time()
            try:
                async with asyncio.timeout(patience.left_seconds):
                    piece = await anext(body)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise httpx.ReadTimeout("it is too slow") from error
            finally:
                patience.left_seconds -= loop.time() - asked_at
            yield piece


async def _cut(
    body: AsyncIterator[bytes], wanted: StartPostprocessingStep, position: int, start: int, end: int
) -> AsyncGenerator[bytes, None]:
    """Yield what lies between `start` and `end` of a body that begins at `position`."""
    async for piece in body:
        kept = piece[max(0, start - position) : max(0, end - position)]
        position += len(piece)
        if kept:
            yield kept
        if position > wanted.filesize:
            break
        if position >= end and end < wanted.filesize:
            return  # more would be of no use
    if position > wanted.filesize or position < end:
        raise BytesUnavailable(
            f"{server_of(wanted.url)} delivered {'more than ' if position > wanted.filesize else ''}"
            f"{min(position, wanted.filesize)} bytes, but the upload has {wanted.filesize}"
        )


def _failure(url: str, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    hint = ""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        hint = (
            ". Have this machine trust the certificate's issuer (SSL_CERT_FILE), or set "
            "PENSTOCK_DELIVERY_TLS_INSECURE=true to take any"
        )
    return f"{server_of(url)} did not deliver the bytes: {reason}{hint}"
