"""The work on one start event, and who watches over it while the function runs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from ..bus.base import BusUnavailable
from ..events.types import PostprocessingStepProgress
from .beside import beside
from .life import SIGN_OF_LIFE
from .results import sayable
from .upload import StopSignal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from ..bus.publish import Publisher
    from ..clock import Clock
    from ..events.types import StartPostprocessingStep
    from ..tracing import Span
    from .call import Call
    from .upload import Beat

log = structlog.get_logger(__name__)

T = TypeVar("T")

HEARTBEAT_PAUSE: Final = timedelta(seconds=1)
"""The shortest time between two heartbeats that are passed on."""


class Stop(StrEnum):
    """Why a function is asked to end before it has."""

    CANCELLED = "cancelled"
    """The upload is not wanted any more: nobody waits for an answer."""
    TIMEOUT = "timeout"
    """It has been silent for too long: the attempt has failed."""
    CLOSING = "closing"
    """This process ends: the event stays unanswered, somebody else will do it."""


class Run:
    """One start event being worked on."""

    def __init__(
        self, start: StartPostprocessingStep, *, start_id: str, sending_id: str, clock: Clock, span: Span
    ) -> None:
        self.start = start
        self.start_id = start_id
        self.sending_id = sending_id
        """Names the very message: one with another ID says the same once more."""
        self.span = span
        self.signal = StopSignal()
        self.call: Call | None = None
        """None until the bytes are there."""
        loop = asyncio.get_running_loop()
        self.stopped: asyncio.Future[Stop] = loop.create_future()
        """Has a value as soon as the function is to end."""
        self.settled: asyncio.Future[None] = loop.create_future()
        """Done when the answer is on the bus, or it is certain that there will be none."""
        self._loop = loop
        self._clock = clock
        self._heard_at = clock.monotonic()
        self._beat: Beat = (None, "")
        self._beaten = asyncio.Event()
        self.beats = 0

    def stop(self, reason: Stop) -> None:
        """Have the function end; the first reason counts."""
        if not self.stopped.done():
            self.stopped.set_result(reason)

    def settle(self) -> None:
        """Tell those who wait for the end of this run."""
        if not self.settled.done():
            self.settled.set_result(None)

    async def unless_stopped(self, work: Awaitable[T]) -> T | None:
        """Return what work brings that comes before the function; None when that is to end, and the work broken off."""
        working, limit = True, asyncio.timeout(None)

        def break_off(stopped: asyncio.Future[Stop]) -> None:
            del stopped
            if working:
                limit.reschedule(self._loop.time())

        try:
            async with limit:
                self.stopped.add_done_callback(break_off)
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            return None
        finally:
            working = False
            self.stopped.remove_done_callback(break_off)

    def on_beat(self, beat: Beat) -> None:
        """Take a heartbeat from the function; may be called from any thread, however often."""
        self._beat = beat
        self._heard_at = self._clock.monotonic()
        self.beats += 1
        if not self._beaten.is_set():
            try:
                self._loop.call_soon_threadsafe(self._beaten.set)
            except RuntimeError:  # the server has ended, and left this function behind
                return

    @asynccontextmanager
    async def reported(self, publisher: Publisher) -> AsyncIterator[None]:
        """Pass heartbeats on and show life, while the context is open: also while the bytes are on their way."""
        if not self.start.upload_id:  # it is a scan on demand, which nobody keeps a record of
            yield
            return
        async with beside(self.start.upload_id, self._report(publisher), self._show_life()):
            yield

    @asynccontextmanager
    async def limited(self, timeout: timedelta | None) -> AsyncIterator[None]:
        """Stop the function when it is silent for so long, while the context is open; None: never."""
        self._heard_at = self._clock.monotonic()
        if timeout is None:
            yield
            return
        async with beside(self.start.upload_id, self._limit_silence(timeout)):
            yield

    async def _report(self, publisher: Publisher) -> None:
        while True:
            await self._beaten.wait()
            self._beaten.clear()
            fraction, message = self._beat
            progress = PostprocessingStepProgress(
                upload_id=self.start.upload_id,
                step=self.start.step_to_start,
                fraction=fraction,
                message=sayable(message),
            )
            try:
                await publisher.publish(progress, causation_id=self.start_id, trace_parent=self.span.trace_parent)
            except BusUnavailable as error:
                log.warning("heartbeat_lost", upload=self.start.upload_id, error=str(error))
            await self._clock.sleep(HEARTBEAT_PAUSE)

    async def _show_life(self) -> None:
        """Say that the work goes on while the bytes are fetched, and then once that the function has begun.

        So the start is not asked for again and again, and no attempt meets its deadline because the file is large.
        """
        while True:
            await self._clock.sleep(SIGN_OF_LIFE)
            if self.beats or self.stopped.done():
                return
            self._beaten.set()
            if self.call is not None:
                return

    async def _limit_silence(self, timeout: timedelta) -> None:
        while True:
            left = timeout.total_seconds() - (self._clock.monotonic() - self._heard_at)
            if left <= 0:
                self.stop(Stop.TIMEOUT)
                return
            await self._clock.sleep(timedelta(seconds=left))
