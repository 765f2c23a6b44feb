"""`penstock postprocessing server`: the coordinator by itself, between services that speak the same events.

It opens its store and its bus when they are there, however long that takes, and is looked at meanwhile: `/readyz`
says what it waits for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ..clock import Clock, SystemClock
from ..errors import Unavailable
from ..postprocessing.survey import never_answered
from ..settings.services import Service
from ..telemetry import Metrics
from ..tracing import UNTRACED, Tracing
from .loops import running
from .opening import BRIEFLY, UNSEEN, bus_of, store_of
from .patience import Patience
from .policy import policy_of
from .processing import Processing
from .tracing import tracing_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AsyncExitStack

    from ..core.progress import Progress
    from ..health import Check
    from ..settings import Settings

log = structlog.get_logger(__name__)


class PostprocessingService:
    """One instance of the coordinator. Any number of instances share a store and a bus."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._policy = policy_of(settings)
        self._open_tracing = tracing_of(settings, Service.POSTPROCESSING)
        self._tracing: Tracing = UNTRACED
        self._clock = SystemClock() if clock is None else clock
        self._patience = Patience(self._clock)
        self._processing: Processing | None = None

    async def run(self) -> None:
        """Move uploads on until cancelled.

        Raises:
            ConfigurationError: a setting is wrong, which nobody could tell before the servers were asked.
        """
        async with (
            self._open_tracing as self._tracing,
            self._patience.opened(self._open) as processing,
            running(processing.loops()),
        ):
            self._processing = processing
            log.info("ready", steps=list(self._policy.every_step), store=self._settings.store)
            await asyncio.Event().wait()

    async def checks(self) -> list[Check]:
        """Look at everything that can be wrong while running."""
        if self._processing is None:
            return [self._patience.check()]
        return await self._processing.checks()

    async def look_up(self) -> None:
        """Set the metrics that are not counted along the way."""
        if self._processing is not None:
            await self._processing.look_up()

    async def records(self, upload_id: str | None, step: str | None) -> AsyncGenerator[Progress, None]:
        """Yield the record of one upload, those of one step, or all.

        Raises:
            Unavailable: the store is not there, or not yet.
        """
        if self._processing is None:
            raise Unavailable(self._patience.waits_for)
        async for saved in self._processing.records(upload_id, step):
            yield saved.progress

    async def _open(self, stack: AsyncExitStack) -> Processing:
        settings, clock = self._settings, self._clock
        store = await stack.enter_async_context(store_of(settings, self._policy, patience=BRIEFLY))
        bus = await stack.enter_async_context(bus_of(settings, clock, patience=BRIEFLY))
        processing = Processing(
            settings, self._policy, store=store, bus=bus, clock=clock, metrics=self.metrics, tracing=self._tracing
        )
        silent = [] if settings.store in UNSEEN else await never_answered(store, self._policy.every_step)
        if silent:
            hint = "uploads wait there until a service of that very name answers"
            log.warning("steps_never_answered", steps=silent, hint=hint)
        await stack.enter_async_context(processing.coordinator.subscribe(workers=settings.workers))
        return processing
