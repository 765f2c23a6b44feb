"""Talks to a running server, and says in a line what to do when it does not answer."""

from __future__ import annotations

import ssl
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from ..errors import InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFIX: Final = "/api/v1"
_CONNECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 60.0
_ACT_SECONDS: Final = 600.0
"""Actions answer when the last upload was acted on, and there may be thousands."""
_PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Before a file is gone on with that broke off: a server that is started again is back by then."""


class ServerAway(Unavailable):
    """No server answers at the address."""

    code = "server-away"


class NothingThere(ServerAway):
    """Nothing answers there at all."""


class Refused(InvalidRequest):
    """The server refused the request and said why."""

    code = "refused"


class Api:
    """The server's REST interface, for commands that ask and print."""

    def __init__(
        self, url: str, *, timeout_seconds: float = _ANSWER_SECONDS, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.url = url
        self._pause = pause
        timeout = httpx.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds))
        self._client = httpx.Client(
            base_url=url + PREFIX, timeout=timeout, trust_env=goes_far(url), verify=trusted_by(url)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    def get(self, path: str, /, **parameters: Any) -> dict[str, Any]:
        """Return the JSON object at a path; parameters that are None are left out.

        Raises:
            ServerAway: no answer.
            NotFound: there is no such thing.
            Refused: another error, with the server's own words.
        """
        return self._ask("GET", path, params=_said(parameters))

    def post(self, path: str, /, **body: Any) -> dict[str, Any]:
        """Send a JSON object and return the one that comes back; errors as for `get`."""
        timeout = httpx.Timeout(_ACT_SECONDS, connect=_CONNECT_SECONDS)
        return self._ask("POST", path, json=_said(body), timeout=timeout)

    def delete(self, path: str, /, **parameters: Any) -> None:
        """Delete what is at a path; errors as for `get`."""
        try:
            answer = self._client.delete(path, params=_said(parameters))
        except httpx.TransportError as error:
            raise away(self.url, error) from error
        if answer.status_code != 204:
            document(self.url, answer)

    def content(self, path: str) -> Iterator[bytes]:
        """Yield the bytes at a path that begins with a slash, from the server's root; errors as for `get`.

        What breaks off goes on from there, until nothing has come for half a minute.
        """
        reached, tries, tag = 0, 0, ""
        while True:
            before = reached
            try:
                with self._client.stream("GET", self.url + path, headers=_rest(reached, tag)) as answer:
                    if answer.status_code not in ((200, 206) if reached else (200,)):
                        answer.read()
                        document(self.url, answer)
                    if reached and answer.headers.get("etag", "") != tag:
                        raise Refused(f"what is at {self.url} is another file by now. Begin anew.")
                    tag = answer.headers.get("etag", "")
                    # A proxy may not do parts, and send all of it once more.
                    position = reached if answer.status_code == 206 else 0
                    for piece in answer.iter_raw():
                        lacking = piece[max(0, reached - position) :]
                        position += len(piece)
                        reached += len(lacking)
                        yield lacking
                    return
            except (httpx.TransportError, ServerAway) as error:
                tries = 0 if reached > before else tries + 1
                if not tag or tries == len(_PAUSES_SECONDS):
                    if isinstance(error, httpx.TransportError):
                        raise away(self.url, error) from error
                    raise
            self._pause(_PAUSES_SECONDS[tries])

    def pages(self, path: str, key: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """Return the items of all pages of a list."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.get(path, cursor=cursor, limit=1000, **parameters)
            items += page[key]
            cursor = page.get("next")
            if cursor is None:
                return items

    def rows(self, path: str, key: str, take: Callable[[dict[str, Any]], None], **parameters: Any) -> int:
        """Hand over the items of a list that may be long, one by one; return how many more the server says there are.

        Errors as for `get`.
        """
        try:
            answer = self._client.get(path, params=_said(parameters))
        except httpx.TransportError as error:
            raise away(self.url, error) from error
        try:  # items stay text until their turn: as objects all of them would take ten times as much memory
            found = msgspec.json.decode(answer.content, type=dict[str, msgspec.Raw])
            items = msgspec.json.decode(found[key], type=list[msgspec.Raw])
        except (msgspec.MsgspecError, KeyError):
            document(self.url, answer)  # says what is wrong in most cases
            raise Refused(f"{self.url} answers with something else than {key}.") from None
        for item in items:
            take(msgspec.json.decode(item))
        return msgspec.json.decode(found["more"], type=int) if "more" in found else 0

    def lines(self, path: str, **body: Any) -> Iterator[dict[str, Any]]:
        """Send a JSON object and yield the ones that come back, a line each; errors as for `get`."""
        timeout = httpx.Timeout(_ACT_SECONDS, connect=_CONNECT_SECONDS)
        headers = {"Accept": "application/x-ndjson"}
        try:
            with self._client.stream("POST", path, json=_said(body), headers=headers, timeout=timeout) as answer:
                if answer.is_error or not answer.headers.get("content-type", "").startswith("application/x-ndjson"):
                    answer.read()
                    document(self.url, answer)
                    raise Refused(f"what answers at {self.url} is an older Penstock server, which cannot do this.")
                for line in answer.iter_lines():
                    yield msgspec.json.decode(line)
        except httpx.TransportError as error:
            raise away(self.url, error) from error

    def _ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise away(self.url, error) from error
        return document(self.url, answer)


def document(url: str, answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in an answer.

    Raises:
        NotFound: there is no such thing.
        ServerAway: the server, or a proxy before it, cannot answer for now.
        Refused: it is another error, or not an answer of a Penstock server.
    """
    if answer.status_code == 404 and _is_problem(answer):
        raise NotFound(explain(answer))
    if answer.status_code >= 502:
        raise ServerAway(f"{url}: {explain(answer)}")
    if answer.is_error and _is_problem(answer):
        raise Refused(explain(answer))
    try:
        found = answer.json()
    except ValueError:
        found = None
    if answer.is_error or not isinstance(found, dict):
        raise Refused(f"what answers at {url} is no Penstock server. Name another one with --url or PENSTOCK_URL.")
    return found


def away(url: str, error: httpx.TransportError) -> NothingThere:
    """Return the error that says that no server answers, and the way out."""
    return NothingThere(
        f"no server answers at {url} ({cause(error)}). Start it with `penstock serve`, or name another one with --url "
        "or PENSTOCK_URL."
    )


def cause(error: httpx.TransportError) -> str:
    """Return why there was no answer, in a few words."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ConnectionRefusedError):
            return "connection refused"
        below = below.__cause__ or below.__context__
    return str(error) or "the connection was cut"


def explain(answer: httpx.Response) -> str:
    """Return what a problem document says (RFC 9457), or the bare status."""
    if _is_problem(answer):
        return str(answer.json()["detail"])
    return f"the server answered {answer.status_code} {answer.reason_phrase}".rstrip()


def goes_far(url: str) -> bool:
    """Tell whether proxies from the environment are to be used: not on the way to this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def trusted_by(url: str) -> ssl.SSLContext | bool:
    """Return what `verify` of a client is to be, for a server that is known by its address.

    To read all certificates of the system takes longer than the rest of a request: plain HTTP has no use for them,
    and nobody is trusted there should it come to TLS all the same.
    """
    return urlsplit(url).scheme != "http" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_problem(answer: httpx.Response) -> bool:
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return False
    try:
        return isinstance(answer.json()["detail"], str)
    except (ValueError, KeyError, TypeError):
        return False


def _rest(reached: int, tag: str) -> dict[str, str]:
    """Return the headers that ask for the bytes from there on, of the same file, and as they are: for a proxy, too."""
    rest = {"Range": f"bytes={reached}-", "If-Match": tag} if reached else {}
    return {"Accept-Encoding": "identity", **rest}


def _said(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
