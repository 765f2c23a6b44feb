"""Reads what the server sends: messages that somebody listens to at once, everything else as nats-py does.

Nearly all that comes are messages, many of them in one piece of data, whose last one is cut as a rule. nats-py copies
the rest of the piece for each, so it is given none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client

    from .client import Receive

_LINE_END: Final = b"\r\n"


class MessageParser(Parser):
    """A parser that hands messages to listeners."""

    def __init__(self, client: Client, hear: Mapping[int, Receive]) -> None:
        """`hear` are the listeners by the number of their subscription; they must not raise."""
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
        while True:
            with_headers = data.startswith(b"HMSG ", at)
            line_end = data.find(_LINE_END, at) if with_headers or data.startswith(b"MSG ", at) else -1
            if line_end < 0:
                return at
            # MSG subject number [reply] bytes, or HMSG subject number [reply] header-bytes bytes
            words = data[at:line_end].split()
            hear = self._hear.get(int(words[2]))
            begin = line_end + 2
            end = begin + int(words[-1])
            if hear is None:
                return at
            if len(data) < end + 2:
                self._cut, self._missing = [data[at:]], end + 2 - len(data)
                return len(data)
            body = begin + int(words[-2]) if with_headers else begin
            reply = words[3] if len(words) - with_headers == 5 else b""
            hear(words[1], reply, data[body:end], data[begin:body])
            at = end + 2
