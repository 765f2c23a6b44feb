"""A line to a worker that a file is pushed to: to one of its addresses, which were checked, and to no other place.

What a worker answers is another's: it is read up to a bound and within a time, and goes into the log only.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from datetime import timedelta

    from .targets import Targets

_PASSING: Final = frozenset({408, 409, 423, 425, 429, 460, 500, 502, 503, 504, 507})
"""What may be otherwise next time; any other refusal stays one."""
_TAKEN: Final = frozenset({200, 201, 204})
_ANSWER_BYTES: Final = 4096
"""How much of an answer's body is read: a worker that goes on to talk is not listened to."""
_ANSWER_SECONDS: Final = 5.0
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

    def __init__(self, client: httpx.AsyncClient, url: str, addresses: Sequence[str]) -> None:
        self.url = url
        """The worker's address, as it was set."""
        self._client = client
        self._asked = httpx.URL(url)
        self._addresses = list(addresses)

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], content: AsyncGenerator[bytes, None] | None = None
    ) -> Answer:
        """Send a request, and return the answer. `content` is closed, however it ends.

        Raises:
            Failed: there is none, or not in time.
            Refused: the URL is not one of this server.
        """
        to = httpx.URL(url)
        if not self.leads_to(url):
            raise Refused(f"it names {server_of(to)}, which is another server", told="it leads to another server")
        try:
            async with aclosing(await self._sent(method, to, headers, content)) as response:
                return Answer(response.status_code, response.headers, await _beginning(response))
        except httpx.HTTPError as error:
            raise Failed(str(error) or type(error).__name__, told=_kind(error)) from error
        finally:
            if content is not None:
                await content.aclose()

    async def _sent(
        self, method: str, to: httpx.URL, headers: Mapping[str, str], content: AsyncGenerator[bytes, None] | None
    ) -> httpx.Response:
        """Send a request to the first address that can be connected to, and stay with that one."""
        while True:
            # One that was checked is connected to; everything else goes by the name.
            request = self._client.build_request(
                method,
                to.copy_with(host=self._addresses[0]),
                headers={"Host": self._asked.netloc.decode("ascii"), **headers},
                content=content,
                extensions={"sni_hostname": self._asked.host},
            )
            try:
                response = await self._client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if len(self._addresses) == 1:
                    raise
                del self._addresses[0]
            else:
                del self._addresses[1:]
                return response

    def leads_to(self, url: str) -> bool:
        """Tell whether a URL is one of this server."""
        return same_server(httpx.URL(url), self._asked)

    def place(self, location: str) -> str:
        """Return the URL that a `Location` means.

        Raises:
            Refused: it is none, or one of another server.
        """
        try:
            found = self._asked.join(location)
        except httpx.InvalidURL as error:
            raise Refused("the Location that it answered with is no URL") from error
        if len(str(found)) > 2000 or not same_server(found, self._asked):
            raise Refused(
                f"its Location is at {server_of(found)}, and {server_of(self._asked)} was asked",
                told="it leads to another server",
            )
        return str(found)


@asynccontextmanager
async def open_line(
    url: str, targets: Targets, *, tls: ssl.SSLContext | bool, secret: str, stall_limit: timedelta
) -> AsyncIterator[Line]:
    """Look up and check the address of a worker, and open a line to it.

    Raises:
        TargetRefused, TargetUnknown: there is none that may be sent to.
    """
    asked, stall = httpx.URL(url), stall_limit.total_seconds()
    addresses = await targets.addresses(asked.host, port_of(asked))
    async with httpx.AsyncClient(
        verify=tls,
        timeout=httpx.Timeout(stall, connect=min(10.0, stall), pool=None),
        follow_redirects=False,
        trust_env=False,
        headers={"Authorization": f"Bearer {secret}"} if secret else {},
    ) as client:
        yield Line(client, url, addresses)


def port_of(url: httpx.URL) -> int:
    """Return the port that is connected to."""
    return url.port or (443 if url.scheme == "https" else 80)


def server_of(url: httpx.URL) -> str:
    """Return what of a URL may be logged: not its path, which may carry a permission."""
    return f"{url.host}:{port_of(url)}"


def same_server(one: httpx.URL, other: httpx.URL) -> bool:
    """Tell whether two URLs are answered by the same server."""
    return (one.scheme, one.host, port_of(one)) == (other.scheme, other.host, port_of(other)) and not one.userinfo


async def _beginning(response: httpx.Response) -> str:
    """Return the beginning of a body; what is short is read to its end, so that the line can be used again."""
    found = b""
    try:
        async with (
            asyncio.timeout(_ANSWER_SECONDS),
            aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces,
        ):
            async for piece in pieces:
                found += piece[: _ANSWER_BYTES - len(found)]
                if len(found) >= _ANSWER_BYTES:
                    break
    except (httpx.HTTPError, TimeoutError):
        pass  # the status was there: that counts
    shown = found.decode("utf-8", "replace")[:_SHOWN_CHARACTERS]
    return "".join(character if character.isprintable() else " " for character in shown).strip()


def _phrase(status: int) -> str:
    """Return what a status means; what a worker writes beside it is its own."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _kind(error: httpx.HTTPError) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.ReadTimeout() | httpx.WriteTimeout():
            return "it did not answer in time"
        case httpx.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return "its certificate is not one that is trusted"
        case httpx.ConnectError():
            return "nobody could be reached there"
        case _:
            return "the connection broke off"
