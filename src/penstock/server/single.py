"""Runs one service by itself, such as `penstock postprocessing server`, with its debug address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog
import uvloop

from ..errors import ConfigurationError
from ..http.debug import build_debug
from ..http.probes import Observed
from .embed import check_free, serve, stop_signal
from .starting import begin_logging, collect_rarely

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..settings import Settings

log = structlog.get_logger(__name__)


class Single(Observed, Protocol):
    """A service that works on a bus which it shares with others."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


async def run_forever(settings: Settings, service: Single) -> None:
    """Run a service until SIGTERM or SIGINT, or until it fails for good."""
    stop = stop_signal()

    async def ending() -> None:
        log.info("stopping")
        working.cancel()
        await asyncio.wait({working}, timeout=2 * settings.grace_period.total_seconds())

    working = asyncio.create_task(service.run())
    working.add_done_callback(lambda _: stop.set())
    if settings.debug_addr is None:
        await stop.wait()
        await ending()
    else:
        log.info("listening", debug=f"http://{settings.debug_addr}")
        await serve(
            build_debug(service, settings.debug_token),
            settings.debug_addr.host,
            settings.debug_addr.port,
            stop=stop,
            grace=settings.grace_period,
            ending=ending,
        )
    if working.done() and not working.cancelled():
        working.result()


def run_single(settings: Settings, make: Callable[[Settings], Single]) -> None:
    """Run the service that `make` returns until it is told to end.

    Raises:
        ConfigurationError: something is wrong; nothing was changed.
    """
    begin_logging(settings)
    if settings.bus == "local":
        raise ConfigurationError(
            f"bus=local ({settings.origins.get('bus')}): a service by itself reaches nobody on it. "
            "Set bus=nats, or run everything in one process with `penstock serve`."
        )
    if settings.debug_addr is not None:
        check_free(settings.debug_addr.host, settings.debug_addr.port, "debug_addr")
    service = make(settings)
    collect_rarely()
    uvloop.run(run_forever(settings, service))
