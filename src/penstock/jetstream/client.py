"""nats-py's client, made to stay: it never gives a connection up for good, and never talks in clear when TLS is asked.

As it comes, the client closes for ever when the server sends an error (a user whose rights change, a limit that is
reached), stops reading without a word when one of its own callbacks fails, and goes on in clear text with a server
that offers no TLS. Each of these would leave a service running that hears nothing.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

import structlog
from nats import errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.client import Server

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

    def abort(self) -> None:
        """Drop the connection as it is."""
        self._connection.close()

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


class _Transport(TcpTransport):
    """A connection that ends at once when it is closed: a peer that is gone takes no last bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        if self._io_writer is not None:
            self._io_writer.transport.abort()

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
