"""A bare connection to an HTTP server: sends exactly what a test says, and forgives nothing in what comes back.

A library would mend, merge or repeat.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_SECONDS = 60.0
Headers: TypeAlias = "Mapping[str, str | int]"


class BareConnection:
    """One connection; requests may be sent in pieces, or not to their end."""

    def __init__(self, port: int, *, source: str = "127.0.0.1") -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS, source_address=(source, 0))
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def begin(self, method: str, target: str, headers: Headers) -> None:
        """Send a request's head, with nothing in it that the test did not name, but Host."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if not any(name.lower() == "host" for name in headers):
            lines.insert(1, f"Host: 127.0.0.1:{self.port}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def closed(self) -> bool:
        """Whether the server ends the connection, without another byte."""
        try:
            return not self._buffer and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def quiet(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for a while."""
        self.socket.settimeout(seconds)
        try:
            return not self._buffer and not self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(ANSWER_SECONDS)

    def reset(self) -> None:
        """Go away with RST, as a machine that crashed does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read_head(self) -> tuple[str, list[tuple[str, str]]]:
        """Return the first line of an answer, and its headers as they came, names in lower case."""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        return first, [(name.lower(), value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]

    def take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._fill()
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def take_chunks(self) -> bytes:
        """Return a body that comes in chunks."""
        body = b""
        while True:
            chunk = self.take(int(self._until(b"\r\n").split(b";")[0], 16))
            assert self.take(2) == b"\r\n"
            if not chunk:
                return body
            body += chunk

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._fill()
        found, self._buffer = self._buffer.split(end, 1)
        return found

    def _fill(self) -> None:
        received = self.socket.recv(65536)
        assert received, f"the connection was closed after {self._buffer!r}"
        self._buffer += received
