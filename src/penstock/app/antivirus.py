"""`penstock antivirus server`: the step `virusscan` by itself, between services that speak the same events.

Start events are answered also while the scanner fails its self-test: with `retry` and the reason, so that people see it
and the coordinator tries again later. Nothing is let through meanwhile, and `/readyz` is red.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from ..bus.publish import Publisher
from ..clock import Clock, SystemClock
from ..settings.services import Service
from ..steps.runner import StepRunner
from ..telemetry import Metrics
from ..tracing import UNTRACED, Tracing
from .delivery import open_delivery
from .held import HeldUploads
from .loops import running
from .opening import BRIEFLY, bus_of
from .patience import Patience
from .scanner import open_virusscan
from .tracing import tracing_of
from .watch import BusWatch

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from ..bus.base import Bus
    from ..health import Check
    from ..settings import Settings
    from .scanning import Scanning

log = structlog.get_logger(__name__)

GROUP: Final = "antivirus"
"""The consumer group of the Go service: instances of both share the work, and each takes over from the other."""


class AntivirusService:
    """One instance of the scanner. Any number of instances share a bus."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._clock = SystemClock() if clock is None else clock
        self._patience = Patience(self._clock)
        self._open_tracing = tracing_of(settings, Service.ANTIVIRUS)
        self._tracing: Tracing = UNTRACED
        self._watch: BusWatch | None = None
        self._scanning: Scanning | None = None

    async def run(self) -> None:
        """Scan until cancelled.

        Raises:
            ConfigurationError: a setting is wrong, which nobody could tell before the servers were asked.
        """
        async with (
            self._open_tracing as self._tracing,
            self._patience.opened(self._open) as (bus, scanning, held),
            running([scanning.watch(), held.run()]),
        ):
            self._watch = BusWatch(bus, self.metrics)
            log.info("ready", scanner=self._settings.antivirus_scanner, workers=self._settings.antivirus_workers)
            await asyncio.Event().wait()

    async def checks(self) -> list[Check]:
        """Look at everything that can be wrong while running."""
        if self._watch is not None:
            checks = await self._watch.checks()
        else:
            checks = [self._patience.check()]
        if self._scanning is not None:
            checks += self._scanning.checks()
        return checks

    async def look_up(self) -> None:
        """Set the metrics that are not counted along the way."""
        if self._watch is not None:
            self._watch.look_up()
        if self._scanning is not None:
            self._scanning.look_up(self.metrics)

    async def _open(self, stack: AsyncExitStack) -> tuple[Bus, Scanning, HeldUploads]:
        settings, clock = self._settings, self._clock
        bus: Bus = await stack.enter_async_context(bus_of(settings, clock, patience=BRIEFLY))
        delivery = await open_delivery(stack, settings, as_files=False)
        self._scanning = scanning = await open_virusscan(stack, settings, clock, self.metrics)
        held = HeldUploads(bus, scanning, clock)
        await stack.enter_async_context(bus.listen(HeldUploads.NEWS, held.hear))
        runner = StepRunner(
            scanning.definition,
            bus=bus,
            publisher=Publisher(bus, clock),
            delivery=delivery,
            clock=clock,
            grace=settings.grace_period,
            tracing=self._tracing,
            group=GROUP,
        )
        await stack.enter_async_context(runner)
        return bus, scanning, held
