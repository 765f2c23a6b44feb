"""Runs one step: takes its start events from the bus, calls its function, and publishes the answer.

Every start event is answered once this process has worked on it, and stays unacknowledged until then; if the process
dies, it comes again. An event that is said twice is worked on once and answered with the same event ID, so that it
does no harm when that fails. The step's function may do what it likes: it has a thread to itself, it is asked to end
when nobody wants its answer any more, and one that hangs is left behind.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from ..delivery.base import DeliveryRefused
from ..errors import PenstockError
from ..events.types import CancelPostprocessing, Outcome, PostprocessingStepFinished, StartPostprocessingStep
from ..ids import derived_id
from ..tracing import UNTRACED, Tracing
from .answers import Answers
from .call import begin
from .results import StepFailed, checked, reason_of, sayable
from .run import Run, Stop
from .upload import StepUpload

if TYPE_CHECKING:
    from ..bus.base import Bus
    from ..bus.publish import Publisher
    from ..clock import Clock
    from ..delivery.base import Delivered, Delivery
    from ..events.types import Envelope
    from .call import Call, Ended
    from .kit import StepDefinition

log = structlog.get_logger(__name__)

LEFT_BEHIND_LIMIT: Final = 8
"""So many calls that do not end are left behind; with more, the step takes no new work until one of them ends."""

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", re.ASCII)


class StepRunner:
    """Runs one step while its context is open. Any number of instances may share a bus."""

    def __init__(
        self,
        definition: StepDefinition,
        *,
        bus: Bus,
        publisher: Publisher,
        delivery: Delivery,
        clock: Clock,
        timeout: timedelta | None = None,
        grace: timedelta = timedelta(seconds=10),
        tracing: Tracing = UNTRACED,
        group: str = "",
    ) -> None:
        """Build a runner.

        Args:
            definition: The step.
            bus: Where start events come from.
            publisher: Publishes to the same bus.
            delivery: Gets the bytes.
            clock: Measures the timeout, the pauses between heartbeats, and the grace period.
            timeout: How long the function may be silent; None: what the definition says.
            grace: How long functions without `async` may take to end when the context is left.
            tracing: Is told of each run.
            group: Whom its instances share their work with; empty: others that run a step of this name.
        """
        self.definition = definition
        self.group = group or f"step-{definition.name}"
        """The consumer group on the bus."""
        self._bus = bus
        self._publisher = publisher
        self._delivery = delivery
        self._clock = clock
        self._timeout = definition.timeout if timeout is None else timeout
        self._grace = grace
        self._tracing = tracing
        self._runs: dict[str, Run] = {}
        self._answers = Answers()
        self._left_behind: set[Call] = set()
        self._closing = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Begin to take events."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(
                self._bus.subscribe(
                    self.group,
                    (StartPostprocessingStep,),
                    self._on_start,
                    workers=self.definition.workers,
                    only=self._is_mine,
                )
            )
            # Every instance must hear it, and at once: only one of them has the work that it is to end.
            await stack.enter_async_context(self._bus.listen((CancelPostprocessing,), self._on_cancel))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Ask what runs to end, wait for it up to the grace period, and stop taking events.

        Whatever has no answer by then stays unacknowledged, and is worked on again by whoever runs this step next.
        """
        self._closing = True
        begun = [run for run in self._runs.values() if run.call is not None]
        for run in begun:
            run.stop(Stop.CLOSING)
        try:
            for run in begun:
                await _first_of(run.settled)
        finally:
            await self._stack.aclose()
        if self._left_behind:
            log.warning("step_calls_left_running", step=self.definition.name, calls=len(self._left_behind))

    @property
    def running(self) -> int:
        """How many uploads are being worked on."""
        return len(self._runs)

    def _is_mine(self, envelope: Envelope) -> bool:
        event = envelope.event
        return isinstance(event, StartPostprocessingStep) and event.step_to_start == self.definition.name

    def _on_cancel(self, envelope: Envelope) -> None:
        for run in list(self._runs.values()):
            if run.start.upload_id == envelope.event.upload_id:
                run.stop(Stop.CANCELLED)

    async def _on_start(self, envelope: Envelope) -> None:
        """Work on one start event, unless that is done or being done; return when the answer is on the bus.

        Raises:
            BusUnavailable: the answer is not on the bus; the event must come again.
        """
        start = envelope.event
        if not isinstance(start, StartPostprocessingStep):
            raise TypeError(f"not a start event: {envelope.event_type}")
        start_id = envelope.event_id or envelope.id
        while (running := self._runs.get(start_id)) is not None:
            if running.sending_id != envelope.id:
                return  # said once more; the first message stays unacknowledged until the work is done
            await _first_of(running.settled)
            await self._park_when_closing()
        span = self._tracing.span(
            f"step {self.definition.name}",
            envelope.trace_parent,
            upload_id=start.upload_id,
            step=self.definition.name,
        )
        run = Run(start, start_id=start_id, sending_id=envelope.id, clock=self._clock, span=span)
        self._runs[start_id] = run
        try:
            with span:
                answer = self._answers.get(start_id)
                if answer is None:
                    answer = await self._work(run)
                else:
                    span.note(outcome=answer.outcome, repeated=True)
                if answer is not None:
                    await self._publisher.publish(
                        answer,
                        event_id=derived_id(start_id, "finished"),
                        causation_id=envelope.event_id,
                        trace_parent=span.trace_parent,
                    )
        finally:
            del self._runs[start_id]
            run.settle()
            self._leave_behind(run)

    async def _work(self, run: Run) -> PostprocessingStepFinished | None:
        """Return the answer to a start event, remembered; None when nobody waits for one any more."""
        began_at = self._clock.monotonic()
        fields = {"step": self.definition.name, "upload": run.start.upload_id}
        try:
            ended = await self._call(run)
            if ended is None:
                log.info("step_cancelled", **fields)
                run.span.note(outcome="cancelled")
                return None
            outcome, result, size_bytes = checked(ended)
            log.info("step_done", **fields, outcome=outcome, seconds=self._clock.monotonic() - began_at)
        except Exception as error:  # also a mistake of ours must end in an answer that people see
            outcome, message = Outcome.RETRY, reason_of(error)
            result, size_bytes = self.definition.failure(run.start, message), len(message)
            cause = error.__cause__ or error
            log.warning("step_failed", **fields, error=_whole(error, message), exc_info=cause)
            run.span.failed(message)
        run.span.note(outcome=outcome)
        answer = PostprocessingStepFinished(
            upload_id=run.start.upload_id,
            executing_user=run.start.executing_user,
            filename=run.start.filename,
            finished_step=self.definition.name,
            result=result,
            outcome=outcome,
        )
        self._answers.remember(run.start_id, answer, size_bytes)
        return answer

    async def _call(self, run: Run) -> Ended | None:
        """Get the bytes, call the function and return its end; None when the upload was cancelled."""
        self._check_id(run.start)
        await self._make_room(run)
        async with run.reported(self._publisher), AsyncExitStack() as stack:
            delivered = await run.unless_stopped(stack.enter_async_context(self._delivery.deliver(run.start)))
            await self._park_when_closing()
            if delivered is None or run.stopped.done():
                return None
            run.call = begin(self.definition, self._upload(run, delivered), run.signal)
            async with run.limited(self._timeout):
                await _first_of(run.call.done, run.stopped)
            return await self._end_of(run, run.call)

    def _upload(self, run: Run, delivered: Delivered) -> StepUpload:
        return StepUpload(
            run.start,
            delivered,
            stop=run.signal,
            on_beat=run.on_beat,
            trace_parent=run.span.trace_parent,
            attempt_id=run.start_id,
        )

    async def _end_of(self, run: Run, call: Call) -> Ended | None:
        """Return how the call ended; while it has not, that is decided by why it was to stop."""
        if run.stopped.done() and run.stopped.result() is Stop.CANCELLED:
            return None
        if call.done.done():
            return call.done.result()
        if run.stopped.result() is Stop.TIMEOUT:
            raise StepFailed(f"step {self.definition.name!r} gave no answer and no sign of life for {self._timeout}")
        call.stop()
        if not await self._within(call.done, self._grace) or not call.meant:
            run.settle()
            await self._park_when_closing()
        return call.done.result()

    async def _within(self, done: asyncio.Future[Ended], duration: timedelta) -> bool:
        timer = asyncio.create_task(self._clock.sleep(duration))
        try:
            await _first_of(done, timer)
        finally:
            timer.cancel()
        return done.done()

    async def _park_when_closing(self) -> None:
        """While closing, wait for the end of the subscription: that leaves the event unacknowledged."""
        if self._closing:
            await asyncio.get_running_loop().create_future()

    def _leave_behind(self, run: Run) -> None:
        """Ask a call that nobody waits for any more to end, and keep count of those that do not."""
        call = run.call
        if call is None or call.done.done():
            return
        call.stop()
        self._left_behind.add(call)
        call.done.add_done_callback(lambda _: self._left_behind.discard(call))

    async def _make_room(self, run: Run) -> None:
        """Wait while too many calls hang."""
        if len(self._left_behind) >= LEFT_BEHIND_LIMIT:
            log.error("step_blocked_by_hanging_calls", step=self.definition.name, calls=len(self._left_behind))
        while len(self._left_behind) >= LEFT_BEHIND_LIMIT and not run.stopped.done():
            hanging = [call.done for call in self._left_behind]
            await _first_of(*hanging, run.stopped)

    def _check_id(self, start: StartPostprocessingStep) -> None:
        """Refuse upload IDs that would be a trap for a function that makes a file name of them."""
        if self.definition.own_thread and not _FILE_NAME.fullmatch(start.upload_id):
            raise DeliveryRefused(f"the upload ID {start.upload_id[:130]!r} cannot be part of a file name")


def _whole(error: Exception, told: str) -> str:
    """Return what the operator's log says: also what uploaders are not told."""
    source = error.__cause__ if isinstance(error, StepFailed) else error
    return sayable(str(source)) if isinstance(source, PenstockError) else told


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    """Wait for one of them to be done; none is cancelled when this is."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
