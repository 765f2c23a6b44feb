"""The coordinator with all that keeps it going, as `penstock serve` and `penstock postprocessing server` run it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from ..bus.publish import Publisher
from ..errors import Unavailable
from ..health import Check
from ..postprocessing.commands import Commands
from ..postprocessing.coordinator import Coordinator
from ..postprocessing.foregone import Foregone
from ..postprocessing.reconcile import Reconciler
from ..postprocessing.survey import Survey
from ..postprocessing.timers import Timers
from .gauges import StoreGauges
from .watch import BusWatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from ..bus.base import Bus
    from ..clock import Clock
    from ..core.policy import Policy
    from ..settings import Settings
    from ..store.base import ProgressStore, Saved
    from ..telemetry import Metrics
    from ..tracing import Tracing

_PATIENCE_SECONDS: Final = 3.0
_NOBODYS: Final = "is-the-store-there"
"""An upload that there is not."""
_COUNT_SECONDS: Final = 0.5
"""How long whoever asks whether we are ready waits until all records are counted."""


class Processing:
    """The parts that bring uploads through their steps, on one store and one bus, both open."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        *,
        store: ProgressStore,
        bus: Bus,
        clock: Clock,
        metrics: Metrics,
        tracing: Tracing,
        publisher: Publisher | None = None,
    ) -> None:
        """`publisher` takes what the coordinator says; None: it goes to the bus as it is."""
        self._store = store
        self._watch = BusWatch(bus, metrics)
        self.publisher = Publisher(bus, clock) if publisher is None else publisher
        self.coordinator = Coordinator(
            store=store,
            bus=bus,
            publisher=self.publisher,
            policy=policy,
            clock=clock,
            metrics=metrics,
            tracing=tracing,
        )
        self.foregone = Foregone(policy, metrics)
        self.survey = Survey(store=store, clock=clock, stalled_after=settings.stalled_after)
        self._gauges = StoreGauges(self.survey, metrics)
        self.reconciler = Reconciler(
            store=store,
            coordinator=self.coordinator,
            memory=bus.memory,
            clock=clock,
            interval=settings.reconcile_interval,
            survey=self.survey,
        )
        self.commands = Commands(store=store, coordinator=self.coordinator)
        self._timers = Timers(store=store, coordinator=self.coordinator, clock=clock)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs for as long as the service does: timers, the periodic comparison, and looks at the store."""
        return [self._timers.run(), self.reconciler.run(), self._gauges.run()]

    async def records(self, upload_id: str | None, step: str | None) -> AsyncGenerator[Saved, None]:
        """Yield the record of one upload, those of one step, or all."""
        if upload_id is None:
            async for saved in self._store.in_step(step) if step else self._store.all():
                yield saved
        elif (one := await self._store.get(upload_id)) is not None:
            yield one

    async def checks(self) -> list[Check]:
        """Look whether the bus and the store answer; whatever takes longer is for `look_up`."""
        return [*await self._watch.checks(), await self._check_store()]

    async def _check_store(self) -> Check:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._store.get(_NOBODYS)  # some know by themselves what is due, and would not ask their server
        except (Unavailable, TimeoutError) as error:
            detail = str(error) or f"It did not answer within {_PATIENCE_SECONDS:.0f} seconds."
            return Check("store", ok=False, detail=detail, hint="Work goes on when it is back.", gates=True)
        return Check("store", ok=True, detail="It answers.")

    async def check_stalled(self) -> Check:
        """Tell whether uploads stand still; where it takes long to count them, how many were counted so far."""
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                stalled = (await self.survey.numbers()).stalled
        except TimeoutError:
            stalled = self.survey.known.stalled
        except Unavailable as error:
            return Check(
                "stalled", ok=False, detail=f"Nobody can tell: {error}", hint="Look again when the store is back."
            )
        hint = "See `penstock postprocessing list`, then `resume` what should go on." if stalled else ""
        return Check("stalled", stalled == 0, f"{stalled} uploads wait for an answer for too long.", hint)

    async def look_up(self) -> None:
        """Set the metrics that are not counted along the way, without waiting for a store that is away or full."""
        self._watch.look_up()
        await self._gauges.look_up()
