"""A line to a worker that a file is pushed to: to one of its addresses, which were checked, and to no other place.

What a worker answers is another's: it is read up to a bound and within a time, and goes into the log only.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp

from ..addresses import moved_to
from ..asking import as_given, asked_once
from .interim import FewInterim
from .outgoing import Outgoing

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from datetime import timedelta

    import yarl

    from .targets import Targets

_PASSING: Final = frozenset({408, 409, 423, 425, 429, 460, 500, 502, 503, 504, 507})
"""What may be otherwise next time; any other refusal stays one."""
_TAKEN: Final = frozenset({200, 201, 204})
_ANSWER_BYTES: Final = 4096
"""How much of an answer's body is read: a worker that goes on to talk is not listened to."""
_ANSWER_SECONDS: Final = 5.0
_FIELD_BYTES: Final = 64 * 1024
"""The longest line in the head of an answer: a tus server may say a long Location, a proxy may set long cookies."""
_SHOWN_CHARACTERS: Final = 200


class Failed(Exception):
    """A try has failed; another one may not."""

    def __init__(self, message: str, *, told: str = "") -> None:
        """`told` is what uploaders see, who are not to learn of our machines; empty: the message names none."""
        super().__init__(message)
        self.told = told or message


class Refused(Failed):
    """A try has failed, and so would every other."""


class Answer(NamedTuple):
    """What a worker has answered."""

    status: int
    headers: Mapping[str, str]
    said: str
    """The beginning of its body, for the log."""

    @property
    def taken(self) -> bool:
        """Whether it says that all is well."""
        return self.status in _TAKEN

    def check(self) -> None:
        """Make sure that all is well.

        Raises:
            Failed, Refused: it is not.
        """
        if not self.taken:
            raise self.failure()

    def failure(self) -> Failed:
        """Return what this answer means for a try."""
        said = f"it answered {self.status} {_phrase(self.status)}".strip()
        if 300 <= self.status < 400:
            said += ", which is not followed: set the address that it leads to"
        kind = Failed if self.status in _PASSING else Refused
        return kind(f"{said}: {self.said!r}" if self.said else said, told=said)


class Line:
    """Asks one server. Open it with `open_line`."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, addresses: Sequence[str], stall_seconds: float
    ) -> None:
        self.url = url
        """The worker's address, as it was set."""
        self._session = session
        self._asked = as_given(url)
        self._addresses = list(addresses)
        self._stall_seconds = stall_seconds

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], content: AsyncGenerator[bytes, None] | None = None
    ) -> Answer:
        """Send a request, and return the answer. `content` is closed, however it ends.

        Args:
            method: such as `PUT`.
            url: one of this server.
            headers: where there is content, with its Content-Length.
            content: the body; None: there is none.

        Raises:
            Failed: there is no answer, or not in time, or a friendly one before all of the content was sent.
            Refused: the URL is not one of this server.
        """
        body, taken = None, False
        if content is not None:
            body = Outgoing(content, int(headers["Content-Length"]), self._stall_seconds)
        try:
            to = as_given(url)
            if not same_server(to, self._asked):
                raise Refused(f"it names {server_of(to)}, which is another server", told="it leads to another server")
            answer = await self._asked_with(method, to, headers, body)
            taken = answer.taken
            return answer
        except (aiohttp.ClientError, TimeoutError) as error:
            if body is not None and body.failure is not None:
                raise body.failure from error
            raise _failed(error) from error
        finally:
            if body is not None:
                await body.ended(taken=taken)

    async def _asked_with(self, method: str, to: yarl.URL, headers: Mapping[str, str], body: Outgoing | None) -> Answer:
        response = await self._sent(method, to, headers, body)
        try:
            answer = Answer(response.status, response.headers, await _beginning(response))
        finally:
            response.close()  # what it has to say beyond that is not waited for, and no more is sent
        if body is not None and answer.taken and not body.is_whole:
            early = "before it had all of the file"
            raise Failed(f"{answer.failure()}, {early}", told=f"{answer.failure().told}, {early}")
        return answer

    async def _sent(
        self, method: str, to: yarl.URL, headers: Mapping[str, str], body: Outgoing | None
    ) -> aiohttp.ClientResponse:
        """Send a request to the first address that can be connected to, and stay with that one."""
        while True:
            # One that was checked is connected to; everything else goes by the name.
            asking = self._session.request(
                method,
                to.with_host(self._addresses[0]),
                headers={"Host": self._asked.raw_authority, **headers},
                data=body,
                server_hostname=self._asked.raw_host,
                allow_redirects=False,
            )
            try:
                response = await asking
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                if len(self._addresses) == 1:
                    raise
                del self._addresses[0]
            else:
                del self._addresses[1:]
                return response

    def leads_to(self, url: str) -> bool:
        """Tell whether a URL is one of this server."""
        return same_server(as_given(url), self._asked)

    def place(self, location: str) -> str:
        """Return the URL that a `Location` means.

        Raises:
            Refused: it is none, or one of another server.
        """
        try:
            url = moved_to(self.url, location)
            found = as_given(url)
        except ValueError as error:
            raise Refused("the Location that it answered with is no URL") from error
        if len(url) > 2000 or not same_server(found, self._asked):
            raise Refused(
                f"its Location is at {server_of(found)}, and {server_of(self._asked)} was asked",
                told="it leads to another server",
            )
        return url


@asynccontextmanager
async def open_line(
    url: str, targets: Targets, *, tls: ssl.SSLContext | bool, secret: str, stall_limit: timedelta
) -> AsyncIterator[Line]:
    """Look up and check the address of a worker, and open a line to it.

    Raises:
        TargetRefused, TargetUnknown: there is none that may be sent to.
    """
    asked, stall = as_given(url), stall_limit.total_seconds()
    addresses = await targets.addresses(asked.raw_host or "", asked.port or 0)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(asked_once,),
        response_class=FewInterim,
        auto_decompress=False,
        max_line_size=_FIELD_BYTES,
        max_field_size=_FIELD_BYTES,
        headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {secret}"} if secret else {}),
        timeout=aiohttp.ClientTimeout(total=None, connect=min(10.0, stall), sock_read=stall),
        trust_env=False,
    ) as session:
        yield Line(session, url, addresses, stall)


def server_of(url: yarl.URL) -> str:
    """Return what of a URL may be logged: not its path, which may carry a permission."""
    return f"{url.raw_host}:{url.port}"


def same_server(one: yarl.URL, other: yarl.URL) -> bool:
    """Tell whether two URLs are answered by the same server."""
    return one.origin() == other.origin() and one.raw_user is None and one.raw_password is None


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """Return the beginning of a body; what is short is read to its end, so that the line can be used again."""
    found = b""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            while len(found) < _ANSWER_BYTES and (piece := await response.content.read(_ANSWER_BYTES - len(found))):
                found += piece
    except (aiohttp.ClientError, TimeoutError):
        pass  # the status was there: that counts
    shown = found.decode("utf-8", "replace")[:_SHOWN_CHARACTERS]
    return "".join(character if character.isprintable() else " " for character in shown).strip()


def _phrase(status: int) -> str:
    """Return what a status means; what a worker writes beside it is its own."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _failed(error: aiohttp.ClientError | TimeoutError) -> Failed:
    """Return what it means for a try that there was no answer. No message names more of an address than the server."""
    match error:
        case TimeoutError():
            return Failed("it did not answer in time")
        case aiohttp.ClientConnectorCertificateError():
            return Failed(str(error), told="its certificate is not one that is trusted")
        case aiohttp.ClientConnectorError():
            return Failed(str(error), told="nobody could be reached there")
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return Failed("what it answers is not HTTP")
        case _:
            return Failed("the connection broke off")
