"""`penstock step run`: steps of one's own in a process of their own, on a bus that is shared with others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ..bus.publish import Publisher
from ..clock import SystemClock
from ..settings.services import Service
from ..steps.runner import StepRunner
from ..telemetry import Metrics
from ..tracing import UNTRACED, Tracing
from .delivery import open_delivery
from .opening import BRIEFLY, bus_of
from .patience import Patience
from .tracing import tracing_of
from .watch import BusWatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

    from ..bus.base import Bus
    from ..health import Check
    from ..settings import Settings
    from ..steps.kit import StepDefinition

log = structlog.get_logger(__name__)


class StepService:
    """Runs steps. Any number of instances may run the same ones and share their work."""

    def __init__(self, settings: Settings, definitions: Sequence[StepDefinition]) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._definitions = definitions
        self._open_tracing = tracing_of(settings, Service.STEP)
        self._tracing: Tracing = UNTRACED
        self._clock = SystemClock()
        self._patience = Patience(self._clock)
        self._watch: BusWatch | None = None

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            ConfigurationError: a setting is wrong, which nobody could tell before the servers were asked.
        """
        async with self._open_tracing as self._tracing, self._patience.opened(self._open) as bus:
            self._watch = BusWatch(bus, self.metrics)
            log.info("ready", steps=[definition.name for definition in self._definitions])
            await asyncio.Event().wait()

    async def checks(self) -> list[Check]:
        """Look at everything that can be wrong while running."""
        if self._watch is None:
            return [self._patience.check("bus", "Work begins when it is there.")]
        return await self._watch.checks()

    async def look_up(self) -> None:
        """Set the metrics that are not counted along the way."""
        if self._watch is not None:
            self._watch.look_up()

    async def _open(self, stack: AsyncExitStack) -> Bus:
        settings, clock = self._settings, self._clock
        bus: Bus = await stack.enter_async_context(bus_of(settings, clock, patience=BRIEFLY))
        publisher = Publisher(bus, clock)
        delivery = await open_delivery(stack, settings)
        for definition in self._definitions:
            runner = StepRunner(
                definition,
                bus=bus,
                publisher=publisher,
                delivery=delivery,
                clock=clock,
                timeout=settings.step_timeout.get(definition.name),
                grace=settings.grace_period,
                tracing=self._tracing,
            )
            await stack.enter_async_context(runner)
        return bus
