"""Reads server-sent events: bytes in, events out, no I/O.

Source: HTML Standard, 9.2.6 (https://html.spec.whatwg.org/multipage/server-sent-events.html)
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?=.)", re.DOTALL)
"""A carriage return at the very end of what arrived so far may be the first half of CR LF."""
_LONGEST_BYTES: Final = 1024 * 1024
"""No event of a server of ours comes near; more than this without an end is none."""


class Event(NamedTuple):
    """One event."""

    kind: str
    """`message` when the server does not say."""
    data: str
    last_id: str
    """The ID to go on from after a cut connection; "" when the server never told one."""


class EventReader:
    """Puts events together from pieces of any size.

    Raises:
        ValueError: there is more than 1 MiB without an end of an event.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._kind = ""
        self._data: list[str] = []
        self._last_id = ""
        self._pending_bytes = 0
        self._at_start = True

    def feed(self, piece: bytes) -> list[Event]:
        """Take what arrived and return the events that are complete now."""
        self._rest += piece
        if self._at_start and len(self._rest) >= 3:
            self._rest = self._rest.removeprefix(b"\xef\xbb\xbf")
            self._at_start = False
        events: list[Event] = []
        position = 0
        for end in _LINE_END.finditer(self._rest):
            line = self._rest[position : end.start()]
            position = end.end()
            if (event := self._line(line)) is not None:
                events.append(event)
        self._rest = self._rest[position:]
        if len(self._rest) + self._pending_bytes > _LONGEST_BYTES:
            raise ValueError("an event of more than 1 MiB")
        return events

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatched()
        self._pending_bytes += len(line)
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._last_id = value
        return None

    def _dispatched(self) -> Event | None:
        event = Event(self._kind or "message", "\n".join(self._data), self._last_id) if self._data else None
        self._kind, self._data, self._pending_bytes = "", [], 0
        return event
