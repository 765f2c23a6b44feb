"""One request and its answer: what ASGI says of them, and what it has no words for."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections import deque
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..errors import PenstockError
from ..http.asgi import EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from uvicorn.protocols.http.flow_control import FlowControl
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from ..http.asgi import Asgi, Receive, Scope, Send
    from .bypass import Bypass

log = structlog.get_logger(__name__)
# What it has to say is said by `exchanging`, and it would say it in another form.
logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

_HELD_BYTES: Final = 512 * 1024
"""How much of a body is held before the client has to wait. A read from a socket gives at most 256 KiB."""
_CONTROL: Final = re.compile("[\\x00-\\x08\\x0a-\\x1f\\x7f]")


class Exchange:
    """A request and its answer, as the application sees them.

    Args:
        transport: the connection.
        flow: pauses and resumes reading from it.
    """

    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport = transport
        self._flow = flow
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._trailers: dict[str, str] = {}
        self._lost = False
        self._hears = True
        self._told_end = False
        self._ends_with_connection = False
        """Whether only the end of the connection says where the answer ends."""
        self.cycle: RequestResponseCycle | None = None
        """How uvicorn answers it; None until its head has ended."""
        self.bypass: Bypass | None = None
        """Takes the rest of the body; None: the parser does."""
        self.arrived = False
        """Whether the whole body is here."""
        self.closes = False
        """Whether the connection is to be closed once the rest of the body has been read."""

    @property
    def answered(self) -> bool:
        """Whether the whole answer has been handed to the connection."""
        return self.cycle is not None and self.cycle.response_complete

    @property
    def unheard(self) -> bool:
        """Whether nobody gets what is sent from now on: uvicorn takes it all the same, and forgets it."""
        return self._begun().disconnected or self._transport.is_closing()

    def feed(self, chunk: bytes) -> None:
        """Take in a piece of the body."""
        self._chunks.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes > _HELD_BYTES:
            self._flow.pause_reading()
        self.wake()

    def add_trailer(self, name: bytes, value: bytes) -> None:
        """Take in a field that came after the body."""
        field, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._trailers[field] = f"{self._trailers[field]}, {text}" if field in self._trailers else text

    def end(self) -> None:
        """Take note that the body has ended."""
        self.arrived, self.bypass = True, None
        self.wake()

    def lose(self, *, hears: bool) -> None:
        """Take note that nothing more will come: the client is gone, or has ended its side.

        With `hears`, it still sends what cannot be read, and is to get the answer all the same.
        """
        self._lost, self._hears = True, hears
        if self.cycle is not None:
            self.cycle.keep_alive = False
        self.wake()

    def trailers(self) -> Mapping[str, str]:
        """Return the fields after the body, names in lower case; none before its end (RFC 9110, section 6.5)."""
        return self._trailers

    def inform(self, status: int, headers: Mapping[str, str]) -> None:
        """Send an interim response (RFC 9110, section 15.2). Does nothing where none may be sent any more.

        Args:
            status: 102 to 199.
            headers: its fields.
        """
        cycle = self._begun()
        if cycle.response_started or cycle.scope["http_version"] == "1.0" or self._transport.is_closing():
            return
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._transport.write(f"HTTP/1.1 {status} \r\n{fields}\r\n".encode("latin-1"))

    async def receive(self) -> MutableMapping[str, Any]:
        """Do what ASGI's `receive` does; of a connection that was cut, first hand out what had arrived."""
        cycle = self._begun()
        if cycle.waiting_for_100_continue and not self._transport.is_closing():
            cycle.waiting_for_100_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self._chunks and (self._told_end or not self.arrived):
            if self._lost or self.answered:
                return {"type": "http.disconnect"}
            cycle.message_event.clear()
            if not self.arrived:
                self._flow.resume_reading()
            await cycle.message_event.wait()
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._held_bytes = 0
        self._told_end = self.arrived
        return {"type": "http.request", "body": body, "more_body": not self.arrived}

    async def receive_into(self, room: memoryview) -> int:
        """Put what comes next of the body into `room`; return how many bytes. 0: call `receive`, which knows why.

        A cancellation loses none of them: `receive` returns them later.
        """
        cycle, bypass = self._begun(), self.bypass
        if bypass is None or self._chunks or self.arrived or self._lost or self.answered:
            return 0
        if cycle.waiting_for_100_continue or self._transport.is_closing():
            return 0
        cycle.message_event.clear()
        bypass.open(room)
        try:
            await cycle.message_event.wait()
        except asyncio.CancelledError:
            if count := bypass.close():
                self.feed(bytes(room[:count]))
            raise
        return bypass.close()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Do what ASGI's `send` does, and see to it that an answer before the end of the body can be read."""
        cycle = self._begun()
        if not self.arrived:
            if message["type"] == "http.response.start" and cycle.waiting_for_100_continue:
                cycle.keep_alive = False  # it was never told to send its body, and may not do so
            elif self._is_last(message) and not cycle.keep_alive and self._hears:
                cycle.keep_alive = self.closes = True  # not yet: closing now might reset what it still sends
        if cycle.scope["http_version"] == "1.0":
            self._leave_unframed(message, cycle)
        await cycle.send(message)  # type: ignore[arg-type]  # one of those that it knows

    def _leave_unframed(self, message: MutableMapping[str, Any], cycle: RequestResponseCycle) -> None:
        """Have an answer of unknown length sent without chunks, which HTTP/1.0 has not (RFC 9112, section 6.1)."""
        if message["type"] == "http.response.start":
            self._ends_with_connection = all(
                name.lower() != b"content-length" for name, _ in message.get("headers", ())
            )
            if self._ends_with_connection:
                cycle.chunked_encoding = False
        elif self._ends_with_connection:
            cycle.expected_content_length = len(message.get("body", b""))

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Send a whole answer in one piece, if nothing is in the way; return whether that was done.

        Does what uvicorn does in two steps, for each field of the head by itself.

        Raises:
            ValueError: a field has a control character in it.
        """
        cycle = self._begun()
        if not self.arrived or self._lost or self._flow.write_paused or cycle.response_started or cycle.disconnected:
            return False
        if _CONTROL.search("".join(headers.values())):
            raise ValueError(f"a field of an answer has a control character in it: {headers!r}")
        fields = "".join([f"{name.lower()}: {value}\r\n" for name, value in headers.items()])
        dated = b"".join([b"%s: %s\r\n" % field for field in cycle.default_headers])
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self._transport.write(b"".join((STATUS_LINE[status], dated, fields.encode("latin-1"), end, body)))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()
        return True

    async def fail(self, status: int) -> None:
        """End an answer that the application did not: as a failure if it has not begun, cut off otherwise."""
        cycle = self._begun()
        if cycle.response_started:
            self._transport.close()
            return
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})

    @staticmethod
    def _is_last(message: MutableMapping[str, Any]) -> bool:
        return message["type"] == "http.response.body" and not message.get("more_body", False)

    def _begun(self) -> RequestResponseCycle:
        if self.cycle is None:
            raise RuntimeError("the head of the request has not ended")
        return self.cycle

    def wake(self) -> None:
        """Have the application look what has come."""
        if self.cycle is not None:
            self.cycle.message_event.set()


def exchanging(app: Asgi) -> Asgi:
    """Return an application that reads and answers by `Exchange`, and whose failures are ours to tell of."""

    async def exchange(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        own: Exchange = scope["extensions"][EXCHANGE]
        try:
            await app(scope, own.receive, own.send)
        except asyncio.CancelledError:
            log.warning("request_given_up", method=scope["method"], path=scope["path"], reason="the server ends")
            await own.fail(503)
        except PenstockError as error:  # what comes before an answer has begun is an answer itself
            log.warning("answer_cut_off", method=scope["method"], path=scope["path"], error=str(error))
            await own.fail(500)
        except Exception:
            log.exception("request_failed", method=scope["method"], path=scope["path"])
            await own.fail(500)

    return exchange


@functools.lru_cache(maxsize=1)
def date_header(second: int) -> list[tuple[bytes, bytes]]:
    """Return the header that every answer of this second has (RFC 9110, section 6.6.1)."""
    return [(b"date", formatdate(second, usegmt=True).encode())]
