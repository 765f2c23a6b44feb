"""`penstock step receive`: takes the files that a gateway pushes to this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import structlog
import uvloop

from ..errors import ConfigurationError
from ..steps.receiving import Receiving, is_loopback
from .embed import check_free, serve, stop_signal
from .starting import allow_open_files, begin_logging, collect_rarely

if TYPE_CHECKING:
    from pathlib import Path

    from ..http.asgi import Asgi
    from ..settings import Settings

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Take files until told to end.

    Raises:
        ConfigurationError: something is wrong; nothing was started.
    """
    begin_logging(settings)
    address, folder = settings.receive_addr, settings.delivery_inbox
    if folder is None:
        raise ConfigurationError(
            "no folder is given for the files to arrive in. Name one: penstock step receive FOLDER, or set "
            "PENSTOCK_DELIVERY_INBOX."
        )
    if not settings.delivery_push_secret and not is_loopback(address.host):
        raise ConfigurationError(
            f"receive_addr={address}: anybody who reaches it could fill the disk. Set PENSTOCK_DELIVERY_PUSH_SECRET, "
            "here and for `penstock serve`, or listen at 127.0.0.1."
        )
    check_free(address.host, address.port, "receive_addr")
    allow_open_files()
    uvloop.run(_receive_forever(settings, folder))


async def _receive_forever(settings: Settings, folder: Path) -> None:
    stop, address = stop_signal(), settings.receive_addr
    try:
        app = Receiving(folder, secret=settings.delivery_push_secret)
    except OSError as error:
        raise ConfigurationError(f"delivery_inbox={folder}: no files can arrive there: {error.strerror}.") from error
    collect_rarely()
    log.info("listening", url=f"http://{address}", inbox=str(folder))
    await serve(
        cast("Asgi", app), address.host, address.port, stop=stop, grace=settings.grace_period, ending=_let_them_end
    )
    log.info("stopping")


async def _let_them_end() -> None:
    """Files that are on their way may arrive within the grace period; what breaks off goes on at the next start."""
