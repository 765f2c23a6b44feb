"""Serves an ASGI application with granian, embedded, so that it shares our event loop and ends with us."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING, Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import timedelta

    from ..http.asgi import Asgi, Receive, Scope, Send

_BACKLOG = 1024
_BUFFER_BYTES = 1024 * 1024
"""How much of a body is read at once when it comes in fast: as much as is written at once. Slow clients take less."""
_LAST_SECONDS = 0.5
"""How long granian may take to close the connections of requests that were cancelled."""


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
    in_flight: set[asyncio.Task[None]] = set()

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        request = asyncio.current_task()
        if request is not None:
            in_flight.add(request)
            request.add_done_callback(in_flight.discard)
        await app(scope, receive, send)

    server = Server(
        counted,
        address=await _numeric(host, port),
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=_BACKLOG,
        http1_settings=HTTP1Settings(max_buffer_size=_BUFFER_BYTES),
        log_enabled=False,
        log_level=LogLevels.error,
    )
    serving = asyncio.ensure_future(server.serve())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            server.stop()  # type: ignore[no-untyped-call]  # granian's own
            async with asyncio.TaskGroup() as group:
                group.create_task(ending())
                await asyncio.wait({serving}, timeout=grace.total_seconds())
        if not serving.done():
            for request in in_flight:
                request.cancel()
            await asyncio.wait({serving}, timeout=_LAST_SECONDS)
    finally:
        stopping.cancel()
        serving.cancel()
    if serving.done() and not serving.cancelled():
        serving.result()


async def _numeric(host: str, port: int) -> str:
    """Return the address of a host that may have been given by its name, which granian does not take."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, family=_family(host), type=socket.SOCK_STREAM)
    return str(found[0][4][0])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
