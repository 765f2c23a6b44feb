"""Says how far a delivery is: to the coordinator that is a sign of life of the step."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

import structlog

from ...errors import Unavailable
from ...events.types import PostprocessingStepProgress

if TYPE_CHECKING:
    from ...bus.publish import Publisher
    from ...clock import Clock
    from ...events.types import StartPostprocessingStep

log = structlog.get_logger(__name__)

_REPORTS: Final = timedelta(seconds=1)
_SILENT_REPORTS: Final = 5


class Reports:
    """Passes on the latest of what is reported, at most once a second, while its context is open.

    Without news it says the same again now and then: a step must not be taken for dead because its file waits in line.
    """

    def __init__(self, publisher: Publisher, clock: Clock, start: StartPostprocessingStep, start_id: str) -> None:
        self._publisher = publisher
        self._clock = clock
        self._start = start
        self._start_id = start_id
        self._latest: tuple[float | None, str] = (None, "waits for its bytes")
        self._news = False

    def take(self, fraction: float | None, message: str) -> None:
        """Note it."""
        self._latest, self._news = (fraction, message), True

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._pass_on())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _pass_on(self) -> None:
        silent = 0
        while True:
            await self._clock.sleep(_REPORTS)
            silent += 1
            if self._news or silent >= _SILENT_REPORTS:
                silent, self._news = 0, False
                await self._report(*self._latest)

    async def _report(self, fraction: float | None, message: str) -> None:
        progress = PostprocessingStepProgress(
            upload_id=self._start.upload_id, step=self._start.step_to_start, fraction=fraction, message=message
        )
        try:
            await self._publisher.publish(progress, causation_id=self._start_id)
        except Unavailable as error:
            log.warning("heartbeat_lost", upload=self._start.upload_id, error=str(error))
