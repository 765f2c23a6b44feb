"""What operators look at and ask for where coordinators run by themselves: on the store and the bus directly."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..bus.publish import Publisher
from ..clock import SystemClock
from ..postprocessing.requests import Requests
from .opening import UNSEEN, bus_of, store_of
from .policy import policy_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..settings import Settings


@asynccontextmanager
async def open_requests(settings: Settings) -> AsyncIterator[Requests]:
    """Connect to the store and the bus of the postprocessing service; no event is taken from it.

    Raises:
        Unavailable: the store or the bus does not answer.
        ConfigurationError: a setting is wrong.
    """
    clock = SystemClock()
    async with bus_of(settings, clock) as bus:
        publisher = Publisher(bus, clock)
        if settings.store in UNSEEN:
            yield Requests(store=None, publisher=publisher, clock=clock)
            return
        async with store_of(settings, policy_of(settings), to_list=True) as store:
            yield Requests(store=store, publisher=publisher, clock=clock)
