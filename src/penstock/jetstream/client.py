"""nats-py's client, made to stay: it never gives a connection up for good, and never talks in clear when TLS is asked.

As it comes, the client closes for ever when the server sends an error (a user whose rights change, a limit that is
reached), stops reading without a word when one of its own callbacks fails, swallows a cancellation while it writes, and
goes on in clear text with a server that offers no TLS. Each of these would leave a service running that hears nothing,
or that does not end.

`listen` and `send` are the short way in and out for whoever has thousands of messages per second: without a task, a
queue or a future per message, and with one write to the socket for all that is said in one turn of the event loop.
"""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import structlog
from nats import errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

from .parser import MessageParser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from urllib.parse import ParseResult

    from nats.aio.client import Server
    from nats.aio.msg import Msg

    from .parser import Receive

log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 5.0


class NoTls(errors.Error):
    """The server offers no TLS, and a connection without it is refused."""


class NatsClient(Client):
    """A client that reconnects until it is closed by us."""

    def __init__(self, *, wants_tls: bool) -> None:
        super().__init__()
        self._wants_tls = wants_tls
        self._connection = _Transport()
        self._transport = self._connection
        self._listeners: dict[int, Receive] = {}
        self._ps = MessageParser(self, self._listeners)
        self._write_is_due = False
        self.on_reconnected: list[Callable[[], None]] = []
        """Called each time after the connection was lost and made again."""

    @property
    def server_version(self) -> tuple[int, ...]:
        """The version of the server that is connected, such as (2, 10, 27); empty when it tells none."""
        told = re.match(r"\d+(\.\d+)*", str(self._server_info.get("version", "")))
        return tuple(map(int, told[0].split("."))) if told else ()

    def abort(self) -> None:
        """Drop the connection as it is."""
        self._connection.close()

    def listen(self, subject: str, receive: Receive, *, queue: str = "") -> int:
        """Have `receive` called for each message to `subject`, also on later connections; return what ends it.

        `queue` shares the messages with others of that name.
        """
        self._sid += 1
        # What nats-py needs to know to subscribe again after a reconnection.
        subscription = Subscription(self, self._sid, subject, queue=queue, cb=_unused)
        self._subs[self._sid] = subscription
        self._listeners[self._sid] = receive
        self._say(f"SUB {subject} {queue} {self._sid}\r\n".encode())
        return self._sid

    def unlisten(self, handle: int) -> None:
        """End what `listen` began; nothing is received after this."""
        self.end(handle)
        self._listeners.pop(handle, None)

    def end(self, handle: int) -> None:
        """Have the server send nothing more of what `listen` began; what is on its way is still received.

        After a `flush` all of that has come; then `unlisten`.
        """
        if self._subs.pop(handle, None) is not None:
            self._say(f"UNSUB {handle}\r\n".encode())

    def send(self, subject: bytes, data: bytes = b"", *, reply: bytes = b"", headers: bytes = b"") -> None:
        """Publish without waiting. While there is no connection, up to 2 MiB are kept for the next one.

        Args:
            subject: where to; not checked.
            data: the message, not larger than `max_payload`.
            reply: where answers go to.
            headers: the whole header block, from `NATS/1.0` to the empty line.

        Raises:
            OutboundBufferLimitError: there is no connection, and too much waits for one already.
            ConnectionClosedError: the client was closed.
        """
        if self._status != self.CONNECTED:
            self._check_room(len(data))
        if headers:
            said = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
                *(subject, reply, len(headers), len(headers) + len(data)),
                *(headers, data),
            )
        else:
            said = b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(data), data)
        self._pending.append(said)
        self._pending_data_size += len(said)
        if not self._write_is_due:
            self._write_soon()

    def _check_room(self, more: int) -> None:
        """Refuse what nobody will ever take, and what is too much to be kept for a later connection."""
        if self.is_closed:
            raise errors.ConnectionClosedError
        if not self.is_connected and self._pending_data_size + more > self._max_pending_size:
            raise errors.OutboundBufferLimitError

    @property
    def unsent_bytes(self) -> int:
        """How much has been said and is not with the operating system yet."""
        writer = self._connection._io_writer
        waiting = writer.transport.get_write_buffer_size() if writer is not None else 0
        return self._pending_data_size + int(waiting)

    def _say(self, command: bytes) -> None:
        self._pending.append(command)
        self._pending_data_size += len(command)
        self._write_soon()

    def _write_soon(self) -> None:
        """Write once for all that is said before the event loop turns: each write is a call of the system."""
        if not self._write_is_due:
            self._write_is_due = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        """Hand everything that waits to the connection, if there is one.

        One that has just been lost takes nothing any more, also before nats-py hears of it: then it waits for the next.
        """
        self._write_is_due = False
        writer = self._connection._io_writer
        if self._pending and self.is_connected and writer is not None and not writer.transport.is_closing():
            said, self._pending = self._pending, []
            self._pending_data_size = 0
            writer.transport.write(b"".join(said))

    async def request(self, *arguments: Any, **options: Any) -> Msg:
        """Ask, and return the answer; as in nats-py, except that a cancellation is never lost."""
        with _cancellable():
            return await super().request(*arguments, **options)

    async def flush(self, *arguments: Any, **options: Any) -> None:
        """Wait until the server has what was said; as in nats-py, except that a cancellation is never lost."""
        with _cancellable():
            await super().flush(*arguments, **options)

    async def _flush_pending(self, force_flush: bool = False) -> None:
        if not force_flush:
            self._write_soon()
            return
        self._write()
        if self.is_connected:
            await asyncio.wait_for(self._connection.drain(), self._flush_timeout)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        self._write()  # the answer says that what was said before has arrived
        await super()._send_ping(future)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        receive = self._listeners.get(sid)
        if receive is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            receive(subject, reply, data, headers or b"")
        except Exception:
            log.exception("nats_listener_failed", subject=subject.decode(errors="replace"))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._wants_tls:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise NoTls("the server offers no TLS")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

    async def _process_err(self, err_msg: str) -> None:
        """Connect again after whatever the server complains about, unless it is only about one request."""
        if "permissions violation" in err_msg:
            await self._error_cb(errors.Error(f"nats: {err_msg}"))
        else:
            await self._process_op_err(errors.Error(f"nats: {err_msg}"))

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if not self.is_connected:
            self._pending, self._pending_data_size = [], 0  # nobody is there to take it
        try:
            await super()._close(status, do_cbs)
        except OSError as error:
            log.warning("nats_lost_while_closing", error=str(error) or type(error).__name__)
            self._subs.clear()
            self.abort()

    async def _read_loop(self) -> None:
        await super()._read_loop()
        if self.is_connected:
            await self._process_op_err(errors.Error("nats: what the server sent could not be read"))

    async def _process_pong(self) -> None:
        # Whoever waited may have given up, and its future with it.
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pings_outstanding = 0
        else:
            await super()._process_pong()

    async def _attempt_reconnect(self) -> None:
        while True:
            try:
                return await super()._attempt_reconnect()
            except Exception:
                log.exception("nats_reconnect_failed")
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)


@contextmanager
def _cancellable() -> Iterator[None]:
    """Raise a cancellation that got lost inside: `asyncio.wait_for` of Python 3.11 prefers an answer of that moment."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


async def _unused(message: Msg) -> None:
    raise AssertionError(f"{message.subject} is listened to")


class _Transport(TcpTransport):
    """A connection that ends at once when it is closed: a peer that is gone takes no last bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Connect, and leave nothing of an attempt before that came no further."""
        self.close()
        await super().connect(uri, buffer_size, connect_timeout)

    def close(self) -> None:
        if self._io_writer is not None:
            self._io_writer.transport.abort()

    async def drain(self) -> None:
        """Wait until what was written is with the operating system, or nearly.

        Raises:
            OSError: the connection is lost.
        """
        if self._io_writer is not None:
            await self._io_writer.drain()

    def __bool__(self) -> bool:
        return True


def next_server(pool: Sequence[Server], info: dict[str, Any]) -> tuple[Server, float]:
    """Choose whom to try next after a connection was lost, and the pause before: 0, then 0.05 s growing to 5 s.

    The pause is half chance, so that a thousand clients of a restarted server do not come at once.
    """
    del info
    server = min(pool, key=lambda one: one.reconnects)
    if server.reconnects == 0:
        return server, 0.0
    pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(server.reconnects - 1, 16))
    return server, pause * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
