"""Something that takes clamd's place and does what clamd does not do on command. Tests only.

It answers VERSION properly. What it does with a scan is a script, a function that gets the socket after the command
has been read from it, and whose end closes it.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from penstock.antivirus.limits import TimeAllowance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

BRIEF = TimeAllowance(base=timedelta(seconds=0.3), bytes_per_second=10**12)
"""For who does not want to wait for one that hangs."""

Script = Callable[[socket.socket], None]


class FakeClamd:
    """Listens in a thread, and runs the script for its command in another one for each connection."""

    def __init__(self, listener: socket.socket, address: str, scripts: dict[bytes, Script]) -> None:
        self.address = address
        self.commands: list[bytes] = []
        self._listener = listener
        self._scripts = {b"zVERSION\0": answer(b"ClamAV 1.4.6/27500/Thu Nov 20 08:30:00 2025\0")} | scripts
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            command = read_until_nul(connection)
            self.commands.append(command)
            self._scripts[command](connection)


@contextmanager
def fake_clamd(where: Path | None, scripts: dict[bytes, Script] | Script) -> Iterator[FakeClamd]:
    """Listen on a unix socket, or for None on a port, and run a script for each command; one script: for INSTREAM."""
    if where is None:
        listener = socket.create_server(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    else:
        where.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(where))
        listener.listen()
        address = str(where)
    fake = FakeClamd(listener, address, scripts if isinstance(scripts, dict) else {b"zINSTREAM\0": scripts})
    try:
        yield fake
    finally:
        fake.close()


def answer(reply: bytes) -> Script:
    """Say something, without reading."""

    def script(connection: socket.socket) -> None:
        connection.sendall(reply)

    return script


def read_all_and_answer(reply: bytes, *, piece_bytes: int = 2**20) -> Script:
    """Read the stream to its end, then say something, in pieces."""

    def script(connection: socket.socket) -> None:
        read_stream(connection)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(reply), piece_bytes):
            connection.sendall(reply[start : start + piece_bytes])

    return script


def read_some_and_answer(read_bytes: int, reply: bytes) -> Script:
    """Read the beginning of what comes, say something, and leave the rest unread."""

    def script(connection: socket.socket) -> None:
        read_exactly(connection, read_bytes)
        connection.sendall(reply)

    return script


def read_all_and_hang(connection: socket.socket) -> None:
    """Read the stream to its end, and say nothing until the client closes."""
    read_stream(connection)
    connection.recv(1)


def reset_after(read_bytes: int) -> Script:
    """Read the beginning, then break the connection off."""

    def script(connection: socket.socket) -> None:
        read_exactly(connection, read_bytes)
        # Closing with a linger time of 0 sends a reset, as does closing with something unread.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return script


def read_stream(connection: socket.socket) -> bytes:
    """Read chunks until the empty one and return what was in them."""
    data = b""
    while length := int.from_bytes(read_exactly(connection, 4), "big"):
        data += read_exactly(connection, length)
    return data


def read_exactly(connection: socket.socket, wanted: int) -> bytes:
    data = bytearray()
    while len(data) < wanted:
        more = connection.recv(min(wanted - len(data), 65536))
        if not more:
            raise ConnectionError("the client has gone")
        data += more
    return bytes(data)


def read_until_nul(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\0"):
        data += read_exactly(connection, 1)
    return data


def nobody() -> str:
    """Return an address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"


async def pieces(data: bytes, piece_bytes: int = 300_000) -> AsyncIterator[bytes]:
    """Give bytes in pieces."""
    for start in range(0, len(data), piece_bytes):
        yield data[start : start + piece_bytes]
