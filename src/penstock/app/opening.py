"""The store and the bus that the settings choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from .. import backends

if TYPE_CHECKING:
    from ..clock import Clock
    from ..core.policy import Policy
    from ..db import Database
    from ..settings import Settings

log = structlog.get_logger(__name__)


def store_of(settings: Settings, policy: Policy, database: Database) -> Any:
    """Return the store of progress that the settings choose, not opened yet; `sqlite` shares `database`."""
    backend = backends.load("store", settings.store)
    if settings.store == "noop" and policy.steps:
        log.warning("store_noop_with_steps", hint="nothing is stored, so no upload with a step ever ends")
    if settings.store == "memory":
        log.warning("store_memory", hint="after a restart every upload in processing begins with its first step")
    return backend(database) if settings.store == "sqlite" else backend()


def bus_of(settings: Settings, clock: Clock) -> Any:
    """Return the bus that the settings choose, not opened yet."""
    del settings
    return backends.load("bus", "local")(clock)
