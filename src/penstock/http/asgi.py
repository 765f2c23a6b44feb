"""What the routes outside of FastAPI share: requests and responses as plain ASGI, without a framework in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import msgspec

from ..uploads.errors import Disconnected
from ..uploads.protocols import tus
from ..uploads.protocols.expected import expected_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..uploads.protocols.expected import Expected

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_ANNOUNCE: Final = frozenset({"content-length", "transfer-encoding", "content-type"})


class Exchange(Protocol):
    """What ASGI lacks of a request and its answer."""

    def inform(self, status: int, headers: Mapping[str, str]) -> None:
        """Send an interim response (RFC 9110, section 15.2). Does nothing where none may be sent any more."""
        ...

    @property
    def unheard(self) -> bool:
        """Whether nobody gets what is sent from now on: ASGI's `send` takes it all the same."""
        ...

    def trailers(self) -> Mapping[str, str]:
        """Return the fields after the body, names in lower case; none before its end (RFC 9110, section 6.5)."""
        ...

    async def receive_into(self, room: memoryview) -> int:
        """Put what comes next of the body into `room`; return how many bytes. 0: ask `receive`, which knows why.

        A cancellation loses none of them: `receive` returns them later. Afterwards, `room` is the caller's again.
        """
        ...

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Send a whole answer in one piece; return whether that was done: if not, it is to be sent as ASGI does it.

        It is done where nothing is in the way: the request has arrived, nothing was sent yet, and nothing waits.

        Args:
            status: not an interim one.
            headers: its fields, complete but for `Date` and `Connection`.
            body: what `Content-Length` says, or nothing for an answer that has none.
        """
        ...


EXCHANGE: Final = "penstock.exchange"
"""Under this name, a request's `extensions` have what ASGI lacks: interim responses and trailers."""


class Answer(msgspec.Struct, frozen=True):
    """A response that fits into memory."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Body:
    """The body of a request, to be read once.

    Args:
        scope: the request.
        headers: its headers.
        receive: where it comes from.

    Raises:
        BadHeader: Content-Length is no number.
    """

    def __init__(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> None:
        self._receive = receive
        self._received = 0
        self._exchange = exchange_of(scope)
        self.length: int | None
        """How many bytes it has; None if it does not say."""
        if "transfer-encoding" in headers:
            self.length = None
        elif "content-length" in headers:
            self.length = tus.number(headers, "Content-Length")
        else:
            self.length = 0 if scope["http_version"].startswith("1") else None
        self.announced = self.length != 0 and bool(headers.keys() & _ANNOUNCE)
        """Whether the headers say that there is a body. From HTTP/2 on, there may be one that they don't speak of."""
        self._ended = self.length == 0

    def trailers(self) -> Mapping[str, str]:
        """Return the fields after the body, names in lower case; none before its end."""
        return {} if self._exchange is None else self._exchange.trailers()

    def expected(
        self, headers: Mapping[str, str], fields: Sequence[str], *, later: Sequence[str] | None = None
    ) -> Expected | None:
        """Return what its bytes must hash to; as `uploads.expected.expected_of`, which see."""
        return expected_of(headers, fields, later=later, chunked=self.length is None, trailers=self.trailers)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            Disconnected: the client went away before its end.
        """
        while chunk := await self.read():
            yield chunk

    async def read(self) -> bytes:
        """Return what has arrived, as soon as something has; nothing at the end. A cancellation loses none of it.

        Raises:
            Disconnected: the client went away before the end.
        """
        chunk = b""
        while not self._ended and not chunk:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._ended = True
                raise Disconnected(
                    "the body ended before its end. What arrived is kept, unless a checksum was to be met: "
                    "ask for the offset with HEAD, and continue."
                )
            chunk = message.get("body", b"")
            self._received += len(chunk)
            # Once all is there, the message that says so is not waited for: that would cost another turn.
            self._ended = not message.get("more_body", False) or self._received == self.length
        return chunk

    @property
    def left_bytes(self) -> int:
        """How much is still to come; 0 if nobody knows."""
        return 0 if self.length is None else self.length - self._received

    async def read_into(self, room: memoryview) -> int:
        """Put what comes next into `room`, as soon as something has; return how many bytes. 0: call `read`.

        A cancellation loses none of them, and `room` is the caller's again afterwards.
        """
        if self._exchange is None or self._ended:
            return 0
        count = await self._exchange.receive_into(room)
        self._received += count
        self._ended = self._received == self.length
        return count


def exchange_of(scope: Scope) -> Exchange | None:
    """Return what ASGI lacks of a request; None on another server."""
    exchange: Exchange | None = scope.get("extensions", {}).get(EXCHANGE)
    return exchange


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the request's headers, names in lower case; the values of a repeated one are joined (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def send_answer(send: Send, answer: Answer, *, head: bool = False, exchange: Exchange | None = None) -> None:
    """Send a whole response; for HEAD requests without its body. With the request's `exchange`, in one piece."""
    headers = dict(answer.headers)
    if answer.status not in (204, 304) and not head:
        headers.setdefault("Content-Length", str(len(answer.body)))
        if exchange is not None and exchange.answer(answer.status, headers, answer.body):
            return
    elif exchange is not None and exchange.answer(answer.status, headers, b""):
        return
    await start(send, answer.status, headers)
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


async def start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Send status and headers; the body follows."""
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
