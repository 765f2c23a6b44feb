"""The metrics of what is in the store. Counting takes long where there is much, and who asks is not kept waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from ..core.progress import ENDED
from ..errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..postprocessing.survey import Survey
    from ..telemetry import Metrics

log = structlog.get_logger(__name__)

_BRIEFLY_SECONDS: Final = 0.25
"""How long who asks waits for new numbers."""


class StoreGauges:
    """Looks at the store whenever somebody asks, one look at a time; what it has found is there for all who ask."""

    def __init__(self, survey: Survey, metrics: Metrics) -> None:
        self._survey = survey
        self._metrics = metrics
        self._steps = _Look(self._look_at_steps)
        self._ages = _Look(self._look_at_ages)

    async def run(self) -> None:
        """Look when asked to, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._steps.run())
            tasks.create_task(self._ages.run())

    async def look_up(self) -> None:
        """Set the metrics to what is there now; where that takes longer than a moment, to what is known so far."""
        await asyncio.wait([look.asked_for() for look in (self._steps, self._ages)], timeout=_BRIEFLY_SECONDS)
        self._set_ages()

    async def _look_at_steps(self) -> None:
        counts = await self._survey.counts()
        in_step = self._metrics.in_step
        in_step.clear()
        for step, number in counts.items():
            if step != ENDED:
                in_step.labels(step).set(number)

    async def _look_at_ages(self) -> None:
        await self._survey.numbers()

    def _set_ages(self) -> None:
        numbers = self._survey.known
        self._metrics.oldest_seconds.set(numbers.oldest_seconds)
        self._metrics.stalled.set(numbers.stalled)


class _Look:
    """One kind of look at the store, which is taken again and again."""

    def __init__(self, take: Callable[[], Awaitable[None]]) -> None:
        self._take = take
        self._asked = asyncio.Event()
        self._next: asyncio.Future[None] | None = None
        """Done when the next look was taken; None when nobody has asked for one."""

    def asked_for(self) -> asyncio.Future[None]:
        """Have the store looked at; return what is done when that has happened."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self._asked.set()
        return self._next

    async def run(self) -> None:
        """Look when asked to, until cancelled. A store that is away leaves things as they were."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            looked, self._next = self._next, None
            try:
                await self._take()
            except Unavailable as error:
                log.warning("numbers_not_known", error=str(error))
            except Exception:
                log.exception("numbers_failed")
            if looked is not None:
                looked.set_result(None)
