"""Serves an ASGI application with uvicorn's protocol, on our event loop, so that it ends with us."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING, Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from ..errors import ConfigurationError
from .connection import Connection
from .exchange import exchanging

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from datetime import timedelta

    from ..http.asgi import Asgi

_BACKLOG = 1024
_LAST_SECONDS = 0.5
"""How long requests that were cancelled may take to end."""
_STANDSTILL_SECONDS = 60.0
"""How long a client may take nothing of what is sent to it. Whoever goes on after that asks for the rest."""


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def check_free(host: str, port: int, setting: str = "http_addr") -> None:
    """Make sure that we can listen at an address, which `setting` has named.

    Raises:
        ConfigurationError: somebody else listens there, or the address is not ours.
    """
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            option = f"--{setting.replace('_', '-')} {host}:{port + 1}"
            raise ConfigurationError(
                f"{setting}={host}:{port}: cannot listen there: {error.strerror}. "
                f"Stop what uses it, or choose another address, such as with {option}."
            ) from error


async def serve(
    app: Asgi,
    host: str,
    port: int,
    *,
    stop: asyncio.Event,
    grace: timedelta,
    ending: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Answer requests until `stop` is set; then let those in flight end, for at most `grace`, and cancel the rest.

    `ending` is called when no new connections are taken any more: to end what would not end by itself.
    """
    loop = asyncio.get_running_loop()
    state = ServerState()
    open_ones = cast("set[Connection]", state.connections)
    config = Config(
        exchanging(app),
        interface="asgi3",
        lifespan="off",
        ws="none",
        proxy_headers=False,
        log_config=None,
        access_log=False,
    )
    config.load()
    server = await loop.create_server(
        lambda: Connection(config, state, {}, loop), host, port, family=_family(host), backlog=_BACKLOG
    )
    for listener in server.sockets:
        _give_up_after(listener, _STANDSTILL_SECONDS)
    try:
        await stop.wait()
        server.close()
        for connection in list(open_ones):
            connection.shutdown()
        async with asyncio.TaskGroup() as group:
            group.create_task(ending())
            await _ended(open_ones, grace.total_seconds())
        for request in list(state.tasks):
            request.cancel()
        await _ended(open_ones, _LAST_SECONDS)
    finally:
        server.close()
        for connection in list(open_ones):
            connection.transport.abort()


async def _ended(connections: Iterable[Connection], seconds: float) -> None:
    """Wait until all connections are closed, which they are after the answers that are due, but only so long."""
    if closed := [connection.closed for connection in connections]:
        await asyncio.wait(closed, timeout=seconds)


def _give_up_after(listener: socket.socket, seconds: float) -> None:
    """Have the system end connections whose other side acknowledges, or makes room for, nothing for so long."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000)
        )  # each connection inherits it


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
