"""A connection of the HTTP server: uvicorn's, with what a server of uploads needs besides.

uvicorn parses (llhttp, by httptools), keeps connections alive and frames answers. Added here, by its protocol class:

- Bytes that arrived before a connection was cut are handed out; uvicorn forgets them.
- Interim responses, such as 104 (Upload Resumption Supported), which ASGI has no words for.
- Trailers are told apart from headers, and kept for whoever wants them.
- Bounds on a request's head: its size, the number of its fields, and how long it may take; and on what else is not
  bytes of a file, such as the fields after a body. Two `Host` fields are refused.
- A client that takes nothing of an answer for a while is gone.
- A large body goes around the parser (`bypass`).
- The rest of a body that was refused is read and forgotten, up to a bound, so that the client gets to see the answer.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..http.asgi import EXCHANGE
from .bypass import LARGE_BYTES, Bypass, left_bytes
from .exchange import Exchange, date_header
from .heads import FRAMING, believe_target, refusal, refusing

if TYPE_CHECKING:
    import asyncio

_READING: Final = ("GET", "HEAD")
_HEAD_BYTES: Final = 64 * 1024
_HEAD_FIELDS: Final = 200
"""Headers and trailers; clients send thirty at the most. Each costs much more than its bytes."""
_HEAD_SECONDS: Final = 30.0
"""How long a request's line and headers may take; for the first one, from the opening of the connection on."""
_DRAIN_BYTES: Final = 64 * 1024 * 1024
_DRAIN_SECONDS: Final = 5.0
"""How much of the rest of a refused body is read and forgotten, and for how long: a client that only listens after it
has sent everything would otherwise find its connection reset, and never see why."""


class Connection(HttpToolsProtocol):
    """A connection; serves one request after the other."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.closed: asyncio.Future[None] = self.loop.create_future()
        """Is done when the connection is."""
        self._exchange: Exchange | None = None
        """The request that arrives, or arrived last."""
        self._unanswered: list[Exchange] = []
        self._in_head = False
        self._begins_head = False
        """Whether the piece of data that is parsed begins a head."""
        self._head_bytes = 0
        self._fields = 0
        self._partial_bytes = 0
        """What has come since the last byte of a body or the end of a request, in reads that had neither."""
        self._progressed = False
        self._body_bytes = 0
        """How much of the body has come that arrives."""
        self._repeats_head = False
        self._refusal: int | None = None
        """The status for a head that the parser accepts, and we do not."""
        self._refused = False
        self._drained_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for a first request, not for ever.

        Not uvicorn's way, which makes a socket object for each thing that it asks of the connection.
        """
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        peer: tuple[Any, ...] | None = transport.get_extra_info("peername")
        self.client = None if peer is None else peer[:2]
        self.scheme = "http"
        self._close_in(_HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell those who handle a request; nothing of what arrived is forgotten."""
        self._keep_open()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._end_input()
        if self._exchange is not None:
            self._exchange.bypass = None  # which refers to this connection
        if not self.closed.done():
            self.closed.set_result(None)

    def eof_received(self) -> bool:  # type: ignore[override]  # what asyncio takes, and uvicorn leaves out
        """Stay open for the answer, if a client has ended its side in the middle of a body, or behind one.

        Whoever reads something is gone then, as far as anybody can tell.
        """
        if self._exchange is None or not self._unanswered:
            return False
        if self._exchange.arrived and self.scope["method"] in _READING:
            return False
        self._end_input()
        return True

    def data_received(self, data: bytes) -> None:
        """Parse what has come in."""
        self._unset_keepalive_if_required()
        if self._refused:
            self._forget(data)
            return
        try:
            if self._exchange is not None and self._exchange.bypass is not None:
                data = self._exchange.bypass.take(data)
            while data and not self.transport.is_closing():
                data = self._parse(data)
        except HttpParserError:
            self._refuse(431 if self._head_bytes > _HEAD_BYTES else self._refusal or 400)

    def _parse(self, data: bytes) -> bytes:
        """Parse data; return what is left of it after a head that asks for another protocol."""
        self._progressed = False
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._stay_with_http()
            return data[upgrade.args[0] :]
        # What has come of a line that has not ended is in no callback yet, nor is what follows the size of a chunk.
        self._partial_bytes = 0 if self._progressed else self._partial_bytes + len(data)
        if self._partial_bytes > _HEAD_BYTES:
            self._head_bytes = self._partial_bytes
            raise HttpParserError
        if self._in_head and self._begins_head:
            self._begins_head = False
            self._close_in(_HEAD_SECONDS)
        if not (self._in_head or self._unanswered) and self._deadline is None:
            self._close_in(_HEAD_SECONDS)  # empty lines, with which no request begins
        if self._exchange is not None and not (self._in_head or self._exchange.arrived):
            self._lead_around_parser(self._exchange)
        return b""

    def _lead_around_parser(self, exchange: Exchange) -> None:
        """Have the rest of a body not be parsed, if there is much of it."""
        left = left_bytes([one for one in self.headers if one[0] in FRAMING], self._body_bytes)
        if left >= LARGE_BYTES:
            exchange.bypass = Bypass(self, exchange, left)

    def _stay_with_http(self) -> None:
        """Have a new parser read the body of the request, since the old one thinks that another protocol follows."""
        framing = [b"%s: %s\r\n" % header for header in self.headers if header[0] in FRAMING]
        self.parser = HttpRequestParser(self)
        self._repeats_head = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(framing) + b"\r\n")
        self._repeats_head = False

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._repeats_head:
            return
        if self.transport.is_closing():
            raise HttpParserError  # the answer before has said that nothing more is taken (RFC 9112, section 9.6)
        super().on_message_begin()
        self._exchange = Exchange(self.transport, self.flow)
        self.scope["extensions"] = {EXCHANGE: self._exchange}  # type: ignore[dict-item]  # ASGI leaves it open what
        self._head_bytes = self._fields = self._body_bytes = 0
        # Most heads come in one piece, and need no timer: see `_parse`.
        self._in_head = self._begins_head = True

    def on_url(self, url: bytes) -> None:
        """Take in a piece of the request's target."""
        if self._repeats_head:
            return
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header, or a trailer."""
        if self._repeats_head:
            return
        self._count(len(name) + len(value), fields=1)
        if self._in_head:
            name = name.lower()
            if name == b"host" and any(known == b"host" for known, _ in self.headers):
                raise HttpParserError
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))
        elif self._exchange is not None:
            self._exchange.add_trailer(name, value)

    def on_headers_complete(self) -> None:
        """Have the request handled."""
        if self._repeats_head:
            return
        version = self.parser.get_http_version()
        self._refusal = refusal(version, self.url, self.headers)
        if self._refusal is not None:
            raise HttpParserError
        believe_target(self.url, self.headers)
        if version == "1.0":
            self.expect_100_continue = False  # it would take that for the answer (RFC 9110, section 10.1.1)
        self._in_head = False
        self._keep_open()
        self.server_state.default_headers = date_header(int(time.time()))
        super().on_headers_complete()
        if self._exchange is not None:
            self._exchange.cycle = self.cycle
            self._unanswered.append(self._exchange)

    def on_body(self, body: bytes) -> None:
        """Hand on a piece of the body, or forget it."""
        self._progressed = True
        self._body_bytes += len(body)
        if self._exchange is None:
            return
        if self._exchange.answered:
            self._forget(body)
        else:
            self._exchange.feed(body)

    def on_body_passed(self) -> None:
        """Take note of the end of a request that the parser has not seen, and parse the next one with another."""
        self._partial_bytes = 0
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.on_message_complete()

    def on_message_complete(self) -> None:
        """Take note of the end of a request."""
        self._progressed = True
        if self.parser.should_upgrade():
            return  # see `_stay_with_http`
        super().on_message_complete()
        if self._exchange is None:
            return
        self._exchange.end()
        if self._exchange.closes:
            self.transport.close()
        elif self._exchange.answered:
            self._close_in(_HEAD_SECONDS)  # a next request may come, as after any other

    def on_response_complete(self) -> None:
        """Go on with the next request; if the body of this one is still coming in, only after its end."""
        self._unanswered = [one for one in self._unanswered if not one.answered]
        super().on_response_complete()
        if self._exchange is not None and self._exchange.answered and not self._exchange.arrived:
            self._unset_keepalive_if_required()
            self._linger(ended=self._exchange.closes)

    def _refuse(self, status: int) -> None:
        """Answer what cannot be understood, and take nothing more.

        In the middle of a body it is left to the application to answer, since it knows what is kept of it.
        """
        self._refused = True
        if self._unanswered:
            self._end_input(hears=True)
            return
        if self.transport.is_closing():
            return
        self.transport.write(refusing(status))
        self._linger(ended=True)

    def _end_input(self, *, hears: bool = False) -> None:
        for exchange in self._unanswered:
            exchange.lose(hears=hears)

    def _linger(self, *, ended: bool) -> None:
        """Read and forget what still comes in; `ended`: tell the client that nothing more will be sent."""
        self._drained_bytes = 0
        self._close_in(_DRAIN_SECONDS)
        if ended and self.transport.can_write_eof():
            self.transport.write_eof()

    def _forget(self, data: bytes) -> None:
        self._drained_bytes += len(data)
        if self._drained_bytes > _DRAIN_BYTES:
            self.transport.close()

    def _count(self, head_bytes: int, *, fields: int = 0) -> None:
        self._head_bytes += head_bytes
        self._fields += fields
        if self._fields > _HEAD_FIELDS:
            self._head_bytes = _HEAD_BYTES + 1
        if self._head_bytes > _HEAD_BYTES:
            raise HttpParserError

    def _close_in(self, seconds: float) -> None:
        self._keep_open()
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _keep_open(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
