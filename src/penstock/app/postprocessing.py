"""`penstock postprocessing server`: the coordinator by itself, between services that speak the same events.

It opens its store and its bus when they are there, however long that takes, and is looked at meanwhile: `/readyz`
says what it waits for.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ..clock import Clock, SystemClock
from ..errors import Unavailable
from ..health import Check
from ..telemetry import Metrics
from .loops import running
from .opening import bus_of, store_of
from .policy import policy_of
from .processing import Processing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..settings import Settings

log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = timedelta(seconds=0.5)
_LONGEST_PAUSE: Final = timedelta(seconds=15)


class PostprocessingService:
    """One instance of the coordinator. Any number of instances share a store and a bus."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._policy = policy_of(settings)
        self._clock = SystemClock() if clock is None else clock
        self._processing: Processing | None = None
        self._waits_for = "It is starting."

    async def run(self) -> None:
        """Move uploads on until cancelled.

        Raises:
            ConfigurationError: a setting is wrong, which nobody could tell before the servers were asked.
        """
        async with self._open_in_time() as processing, running(processing.loops()):
            self._processing = processing
            log.info("ready", steps=list(self._policy.steps), store=self._settings.store)
            await asyncio.Event().wait()

    async def checks(self) -> list[Check]:
        """Look at everything that can be wrong while running."""
        if self._processing is None:
            hint = "It goes on by itself once they are there."
            return [Check("servers", ok=False, detail=self._waits_for, hint=hint, gates=True)]
        return [*await self._processing.checks()]

    async def look_up(self) -> None:
        """Set the metrics that are not counted along the way."""
        if self._processing is not None:
            await self._processing.look_up()

    @asynccontextmanager
    async def _open_in_time(self) -> AsyncIterator[Processing]:
        """Open store and bus and take events; what is away is waited for, with growing pauses."""
        pause = _FIRST_PAUSE
        while True:
            async with AsyncExitStack() as stack:
                try:
                    processing = await self._open(stack)
                except Unavailable as error:
                    self._waits_for = str(error)
                    log.warning("servers_are_away", error=str(error), next_try_seconds=pause.total_seconds())
                else:
                    yield processing
                    return
            await self._clock.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _open(self, stack: AsyncExitStack) -> Processing:
        settings, clock = self._settings, self._clock
        store = await stack.enter_async_context(store_of(settings, self._policy))
        bus = await stack.enter_async_context(bus_of(settings, clock))
        processing = Processing(settings, self._policy, store=store, bus=bus, clock=clock, metrics=self.metrics)
        await processing.reconciler.mend()
        await stack.enter_async_context(processing.coordinator.subscribe(workers=settings.workers))
        return processing
