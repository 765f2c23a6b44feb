"""What operators look at and ask for where coordinators run by themselves: on the store and the bus directly."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..bus.base import OnServer
from ..bus.publish import Publisher
from ..clock import SystemClock
from ..errors import ConfigurationError
from ..postprocessing.requests import Requests
from .opening import BRIEFLY, UNSEEN, bus_of, store_of
from .policy import policy_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..bus.aside import KeptAside
    from ..settings import Settings


@asynccontextmanager
async def open_requests(settings: Settings) -> AsyncIterator[Requests]:
    """Connect to the store and the bus of the postprocessing service; no event is taken from it.

    Raises:
        Unavailable: the store or the bus does not answer.
        ConfigurationError: a setting is wrong.
    """
    clock = SystemClock()
    async with bus_of(settings, clock, patience=BRIEFLY) as bus:
        publisher = Publisher(bus, clock)
        if settings.store in UNSEEN:
            from .records import records_of_service  # with its HTTP client, which takes a tenth of a second

            async with records_of_service(settings) as (records, why_unseen):
                yield Requests(store=records, publisher=publisher, clock=clock, why_unseen=why_unseen)
            return
        async with store_of(settings, policy_of(settings), to_list=True, patience=BRIEFLY) as store:
            yield Requests(store=store, publisher=publisher, clock=clock)


@asynccontextmanager
async def open_set_aside(settings: Settings) -> AsyncIterator[KeptAside]:
    """Connect to what the services on a bus have set aside.

    Raises:
        Unavailable: the bus does not answer.
        ConfigurationError: nothing is ever set aside on this bus, or a setting is wrong.
    """
    async with bus_of(settings, SystemClock(), patience=BRIEFLY) as bus:
        if not isinstance(bus, OnServer):
            origin = settings.origins.get("bus")
            raise ConfigurationError(
                f"bus={settings.bus} ({origin}): nothing is set aside on it. Set it to nats, and say where that is "
                "with OCIS_EVENTS_ENDPOINT."
            )
        yield bus.kept_aside()
