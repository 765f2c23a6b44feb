"""Starts steps once their bytes are within their reach, and says so if that cannot be.

It stands where the coordinator hands its events over. A start that needs work first is held back; when the work is
done, it is published under the ID that it had, if it is still awaited. What is on its way is not saved: the upload's
record awaits the answer to that start, so whoever comes after a death finds it there and does the work (`catch_up`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import structlog

from ...blobs.base import BlobMissing
from ...bus.base import BusUnavailable
from ...bus.publish import Publisher
from ...core.emit import awaited
from ...errors import PenstockError, Unavailable
from ...events.types import (
    VIRUSSCAN,
    CancelPostprocessing,
    Outcome,
    PostprocessingFinished,
    PostprocessingStepFinished,
    StartPostprocessingStep,
    VirusscanResult,
)
from ...ids import derived_id
from .base import NotDelivered
from .claims import StepOver, awaited_step
from .lanes import Lanes
from .reports import Reports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...bus.base import Bus
    from ...clock import Clock
    from ...core.emit import Emit
    from ...core.progress import Progress
    from ...events.types import Envelope
    from ...store.base import ProgressStore
    from .base import Way
    from .claims import Claim
    from .ledger import Ledger

log = structlog.get_logger(__name__)

_KEPT: Final = 10_000
_AGAIN: Final = timedelta(seconds=2)
_LOOK: Final = timedelta(seconds=5)
_GONE: Final = "the file could not reach the step's worker: its bytes are not in the storage any more"
_SILENT: Final = timedelta(seconds=12)
"""Who delivers says so each five seconds; whoever has not been heard of for this long is dead."""


class NoRoom(Unavailable):
    """Too many files are on their way."""

    code = "too-many-deliveries"


class Dispatcher(Publisher):
    """A publisher that has the bytes delivered before a step is started. Open it before use.

    Args:
        bus: carries the events.
        clock: times them.
        ways: by step.
        store: knows which starts are awaited.
        ledger: remembers which were said.
        otherwise: for steps that are not in `ways`, `at_once`. None: the address that their upload came with.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        *,
        ways: Mapping[str, Way],
        store: ProgressStore,
        ledger: Ledger,
        otherwise: Way | None = None,
    ) -> None:
        super().__init__(bus, clock)
        self._heard_on = bus
        self._time = clock
        self._ways = dict(ways)
        self._otherwise = otherwise
        self._store = store
        self._ledger = ledger
        self._lanes = Lanes()
        self._addresses: OrderedDict[str, str] = OrderedDict()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Begin to hear which uploads are not wanted any more."""
        async with AsyncExitStack() as stack:
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(self._lanes.stop_all)
            over = (CancelPostprocessing, PostprocessingFinished)
            await stack.enter_async_context(self._heard_on.listen(over, self._on_end))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop all work: it is done again by whoever comes next."""
        await self._stack.aclose()

    async def emit(self, *emits: Emit, causation_id: str = "", trace_parent: str = "") -> None:
        """Publish events; hold those back that start a step whose bytes have to be delivered first."""
        ready = [await self._addressed(emit, trace_parent) for emit in emits]
        if now := [emit for emit in ready if emit is not None]:
            await super().emit(*now, causation_id=causation_id, trace_parent=trace_parent)

    async def run(self) -> None:
        """Look now and then for starts that nobody works on, until cancelled."""
        while True:
            try:
                await self.catch_up()
            except Unavailable as error:
                log.warning("deliveries_wait", error=str(error))
            except Exception:  # whatever is wrong with one record, the server is to go on
                log.exception("deliveries_not_looked_at")
            await self._time.sleep(_LOOK)

    async def catch_up(self) -> None:
        """Work on all starts that are awaited and were held back by somebody who is gone, or for lack of room.

        Raises:
            StoreUnavailable: not all were looked at.
        """
        for step, way in self._ways.items():
            if way.at_once:
                continue
            async for saved in self._store.in_step(step):
                if self._lanes.has_room(step) and not self._is_at_work(saved.progress):
                    await self._take_up(saved.progress)
        listed = await self._ledger.uploads()
        known = await self._store.get_many(listed) if listed else {}
        await self._ledger.forget([upload_id for upload_id in listed if upload_id not in known])

    def _is_at_work(self, progress: Progress) -> bool:
        """Tell whether somebody has just been heard of: who delivers, another instance maybe, or the step itself."""
        heard_at = max(filter(None, (progress.heard_at, progress.step_started_at)), default=None)
        return heard_at is not None and abs(self._time.now() - heard_at) < _SILENT

    async def _take_up(self, progress: Progress) -> None:
        for emit in awaited(progress):
            if emit.event_id in self._lanes or emit.event_id in self._addresses:
                continue
            url = await self._ledger.address(progress.upload_id, emit.event_id)
            if url is None:
                await self._addressed(emit, progress.trace_parent)
            else:
                self._remember(emit.event_id, url)

    async def ask(self, claim: Claim, way: Way) -> None:
        """Deliver the bytes for a step that was started before; if that cannot be, the step's attempt has failed.

        Returns before it is done. Asking again while it is being done, or when it is, does no harm.

        Raises:
            StepOver: the step is not awaited any more.
            NoRoom: too many wait for their bytes.
            StoreUnavailable: nobody can tell now.
        """
        saved = await self._store.get(claim.upload_id)
        for emit in () if saved is None else awaited(saved.progress):
            if emit.event_id == claim.start_id and isinstance(emit.event, StartPostprocessingStep):
                if emit.event_id not in self._lanes and not self._lanes.has_room(claim.step):
                    raise NoRoom("too many files are on their way. Ask again later.")
                self._begin(emit, emit.event, way, "", then_start=False)
                return
        raise StepOver(f"upload {claim.upload_id} does not wait for this step any more")

    async def _addressed(self, emit: Emit, trace_parent: str) -> Emit | None:
        """Return an event as it can be published now; None when it has to wait."""
        start = emit.event
        if not isinstance(start, StartPostprocessingStep):
            return emit
        way = self._ways.get(start.step_to_start, self._otherwise)
        if way is None:
            return emit
        if way.at_once:
            return _with_url(emit, start, await way.address(start, emit.event_id, _nobody))
        url = self._addresses.get(emit.event_id) or await self._said(start, emit.event_id)
        if url is not None:
            return _with_url(emit, start, url)
        self._begin(emit, start, way, trace_parent)
        return None

    async def _said(self, start: StartPostprocessingStep, start_id: str) -> str | None:
        """Return the address that a start was said with before; None when it was not."""
        if start_id in self._lanes:
            return None
        try:
            return await self._ledger.address(start.upload_id, start_id)
        except Unavailable as error:
            raise BusUnavailable(f"nobody can tell whether this start was said before: {error}") from error

    def _begin(
        self, emit: Emit, start: StartPostprocessingStep, way: Way, trace_parent: str, *, then_start: bool = True
    ) -> None:
        if emit.event_id in self._lanes:
            return
        self._lanes.stop(start.upload_id)  # an attempt that nobody awaits any more
        if self._lanes.has_room(start.step_to_start):
            task = self._tasks.create_task(self._deliver(emit, start, way, trace_parent, then_start=then_start))
            self._lanes.add(emit.event_id, start.upload_id, start.step_to_start, task)

    async def _deliver(
        self, emit: Emit, start: StartPostprocessingStep, way: Way, trace_parent: str, *, then_start: bool
    ) -> None:
        fields: dict[str, Any] = {"upload": start.upload_id, "step": start.step_to_start, "way": way.name}
        try:
            slot = self._lanes.slot(start.step_to_start)
            async with Reports(self, self._time, start, emit.event_id) as reports, slot:
                url = await way.address(start, emit.event_id, reports.take)
        except BlobMissing:
            log.info("delivery_of_nothing", **fields)
            await self._until_said(self._fail_if_awaited, start, emit.event_id, _GONE)
            return
        except PenstockError as error:
            log.warning("delivery_failed", **fields, error=str(error))
            await self._until_said(self._fail, start, emit.event_id, _told(error))
            return
        except Exception as error:  # whatever it is, the step must not wait for ever
            log.exception("delivery_failed", **fields)
            reason = f"the bytes could not be delivered by {way.name}: {type(error).__name__}"
            await self._until_said(self._fail, start, emit.event_id, reason)
            return
        if then_start:
            await self._until_said(self._start, _with_url(emit, start, url), start, url, trace_parent)
        log.info("delivered", **fields)

    async def _start(self, emit: Emit, start: StartPostprocessingStep, url: str, trace_parent: str) -> None:
        if await awaited_step(self._store, start.upload_id, emit.event_id) is None:
            return
        await super().emit(emit, trace_parent=trace_parent)
        await self._ledger.note(start.upload_id, emit.event_id, url)
        self._remember(emit.event_id, url)

    def _remember(self, start_id: str, url: str) -> None:
        """Spare the ledger the question whether a start was said."""
        self._addresses[start_id] = url
        if len(self._addresses) > _KEPT:
            self._addresses.popitem(last=False)

    async def _fail_if_awaited(self, start: StartPostprocessingStep, start_id: str, reason: str) -> None:
        """Answer only where somebody waits for it: most bytes are gone because nobody does."""
        if await awaited_step(self._store, start.upload_id, start_id) is not None:
            await self._fail(start, start_id, reason)

    async def _fail(self, start: StartPostprocessingStep, start_id: str, reason: str) -> None:
        """Answer in the step's place: it was never started."""
        virusscan = start.step_to_start == VIRUSSCAN
        scanned = VirusscanResult(resource_id=start.resource_id, error_message=reason)
        answer = PostprocessingStepFinished(
            upload_id=start.upload_id,
            executing_user=start.executing_user,
            filename=start.filename,
            finished_step=start.step_to_start,
            result=scanned if virusscan else {"error": reason},
            outcome=Outcome.RETRY,
        )
        await self.publish(answer, event_id=derived_id(start_id, "finished"), causation_id=start_id)

    async def _until_said(self, say: Any, *arguments: Any) -> None:
        while True:
            try:
                await say(*arguments)
            except Unavailable as error:
                log.warning("delivery_not_told_yet", error=str(error))
                await self._time.sleep(_AGAIN)
            except Exception:
                log.exception("delivery_not_told")  # `catch_up` begins anew
                return
            else:
                return

    def _on_end(self, envelope: Envelope) -> None:
        self._lanes.stop(envelope.event.upload_id)


def _told(error: PenstockError) -> str:
    """Return what uploaders see of a failure; the log has all of it."""
    if isinstance(error, NotDelivered):
        return error.told
    return "the file could not reach the step's worker: it cannot be read from the storage right now"


def _with_url(emit: Emit, start: StartPostprocessingStep, url: str) -> Emit:
    return msgspec.structs.replace(emit, event=msgspec.structs.replace(start, url=url))


def _nobody(fraction: float | None, message: str) -> None:
    """Take a report where nobody listens."""
