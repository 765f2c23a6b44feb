"""`penstock serve`: everything in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import uvloop

from ..app.policy import check_handlers
from ..app.serve import App
from ..http.app import build
from ..http.services import Services
from ..steps.load import load_steps
from .embed import check_free, serve, stop_signal
from .starting import allow_open_files, begin_logging, collect_rarely

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..settings import Settings
    from ..steps.kit import StepDefinition

log = structlog.get_logger(__name__)


async def serve_forever(settings: Settings, definitions: Sequence[StepDefinition]) -> None:
    """Run everything until SIGTERM or SIGINT."""
    stop = stop_signal()
    async with App(settings, definitions) as app:

        async def ending() -> None:
            app.services.feed.end()
            await app.services.receiver.stop()

        collect_rarely()
        address = settings.http_addr
        log.info("listening", url=f"http://{address}", data=str(settings.data_dir), steps=list(settings.steps))
        await serve(
            build(Services.of(app.services)),
            address.host,
            address.port,
            stop=stop,
            grace=settings.grace_period,
            ending=ending,
        )
        log.info("stopping")


def run(settings: Settings) -> None:
    """Run the server until it is told to end.

    Raises:
        ConfigurationError: something is wrong; nothing was left half-started.
    """
    begin_logging(settings)
    definitions = load_steps(settings.step_files)
    check_handlers(settings, definitions)
    check_free(settings.http_addr.host, settings.http_addr.port)
    allow_open_files()
    uvloop.run(serve_forever(settings, definitions))
