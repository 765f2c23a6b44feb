"""Reads what the server sends: messages that somebody listens to at once, everything else as nats-py does.

Nearly all that comes are messages, many of them in one piece of data, whose last one is cut as a rule. nats-py copies
the rest of the piece for each, so it is given none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client

Receive: TypeAlias = Callable[[bytes, bytes, bytes, bytes], None]
"""Takes a message at once: subject, reply subject, data, and its header block as it came; the last three may be
empty. What it raises is logged."""

log = structlog.get_logger(__name__)

_LINE_END: Final = b"\r\n"


class MessageParser(Parser):
    """A parser that hands messages to listeners."""

    def __init__(self, client: Client, hear: Mapping[int, Receive]) -> None:
        """`hear` are the listeners by the number of their subscription."""
        super().__init__(client)
        self._hear = hear

    def reset(self) -> None:
        """Begin anew, on another connection."""
        super().reset()
        self._cut: list[bytes] = []
        """What has come of a message that is not complete."""
        self._missing = 0
        """How many bytes of it have not."""

    async def parse(self, data: bytes = b"") -> None:
        """Take the next piece of data."""
        if self._cut:
            self._cut.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._cut)
            self._cut = []
        if self.state == AWAITING_CONTROL_LINE:
            data = bytes(self.buf) + data if self.buf else data
            self.buf.clear()
            data = data[self._hear_messages(data) :]
        if data:
            await super().parse(data)

    def _hear_messages(self, data: bytes) -> int:
        """Hand over the messages at the beginning that are listened to; return where they end.

        One that is not complete is kept until it is, and counts to them.
        """
        at = 0
        while (line_end := data.find(_LINE_END, at)) >= 0:
            # MSG subject number [reply] bytes, or HMSG subject number [reply] header-bytes bytes
            words = data[at:line_end].split()
            operation = words[0] if words else b""
            with_headers = operation == b"HMSG"
            receive = self._hear.get(int(words[2])) if with_headers or operation == b"MSG" else None
            if receive is None:
                break
            begin = line_end + 2
            end = begin + int(words[-1])
            if len(data) < end + 2:
                self._cut, self._missing = [data[at:]], end + 2 - len(data)
                return len(data)
            body = begin + int(words[-2]) if with_headers else begin
            reply = words[3] if len(words) - with_headers == 5 else b""
            try:
                receive(words[1], reply, data[body:end], data[begin:body])
            except Exception:
                log.exception("nats_listener_failed", subject=words[1].decode(errors="replace"))
            at = end + 2
        return at
