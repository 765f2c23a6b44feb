"""Runs the application behind its way in: granian, embedded, so that it shares our event loop and ends with us."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING, Any

import structlog
import uvloop
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from .app import App, check_handlers
from .errors import ConfigurationError
from .http.app import build
from .http.services import Services
from .logs import configure
from .steps.load import load_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import timedelta

    from .http.asgi import Asgi
    from .settings import Settings
    from .steps.kit import StepDefinition

log = structlog.get_logger(__name__)

_BACKLOG = 1024
_BUFFER_BYTES = 1024 * 1024
"""How much of a body is read at once when it comes in fast: as much as is written at once. Slow clients take less."""


def check_free(host: str, port: int) -> None:
    """Make sure that we can listen at an address.

    Raises:
        ConfigurationError: somebody else listens there, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"http_addr={host}:{port}: cannot listen there: {error.strerror}. "
                "Stop what uses it, or choose another address, such as with --http-addr 127.0.0.1:8081."
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
    """Answer requests until `stop` is set; then let those in flight end, for at most `grace`.

    `ending` is called when no new connections are taken any more: to end what would not end by itself.
    """
    server = Server(
        app,
        address=host,
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
    finally:
        stopping.cancel()
        serving.cancel()
    if serving.done() and not serving.cancelled():
        serving.result()


async def serve_forever(settings: Settings, definitions: Sequence[StepDefinition]) -> None:
    """Run everything until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with App(settings, definitions) as app:
        address = settings.http_addr
        log.info("listening", url=f"http://{address}", data=str(settings.data_dir), steps=list(settings.steps))
        await serve(
            build(Services.of(app.services)),
            address.host,
            address.port,
            stop=stop,
            grace=settings.grace_period,
            ending=app.services.receiver.stop,
        )
        log.info("stopping")


def run(settings: Settings) -> None:
    """Run the server until it is told to end.

    Raises:
        ConfigurationError: something is wrong; nothing was left half-started.
    """
    configure(settings.log_level, settings.log_format)
    for warning in settings.warnings:
        log.warning("setting", message=warning)
    definitions = load_steps(settings.step_files)
    check_handlers(settings, definitions)
    check_free(settings.http_addr.host, settings.http_addr.port)
    uvloop.run(serve_forever(settings, definitions))
