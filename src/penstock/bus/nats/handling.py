"""What becomes of an event that a worker has taken: it is done with, comes again, or is set aside.

A message is acknowledged when its handler has returned, never before. What a handler could not do comes again after a
growing pause; what never will work is set aside.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ...errors import PenstockError
from ..base import BusUnavailable
from ..pauses import pause_after
from ..tasks import is_cancelled
from .failures import NATS_ERRORS, told
from .messages import AT_ONCE, BACK_FOR, TERMINATE, again_after

if TYPE_CHECKING:
    from ...events.codec import UndecodableEvent
    from ..group import Entry, Group
    from .consumers import Consumer
    from .ledger import Held, Ledger
    from .set_aside import SetAside
    from .subscription import Subscription
    from .trials import Trial, Trials

log = structlog.get_logger(__name__)

_REMEMBERED_FAILURES: Final = 10_000
_SET_ASIDE_AGAIN: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What an event may do before it is set aside."""

    max_failures: int = 20
    """So often its handler may fail, in a way that is not known to pass."""
    suspect_after: int = 10
    """Delivered more often than that, it may be one that ends the process. It is handled under a mark; once that of a
    process that died is there, no other such event is handled beside it."""
    max_deaths: int = 5
    """So many processes may die while they handle such an event."""


USUAL: Final = Tolerance()


class Handling:
    """Hands the events of one group to handlers, and answers for each of them."""

    def __init__(
        self,
        group: Group[Subscription],
        ledger: Ledger,
        *,
        set_aside: SetAside,
        trials: Trials,
        tolerance: Tolerance,
    ) -> None:
        self.failures = 0
        """How often a handler has raised."""
        self._group = group
        self._ledger = ledger
        self._set_aside = set_aside
        self._trials = trials
        self._tolerance = tolerance
        self._trying = 0
        """How many events are being handled that may end the process."""
        self._alone = False
        """Whether it is one of which a process has died, and no other may be beside it."""
        self._failed: OrderedDict[int, int] = OrderedDict()
        """How often each has failed here, by its sequence."""
        self._unreadable: asyncio.Queue[tuple[Held, UndecodableEvent]] = asyncio.Queue()

    async def handle(self, member: Subscription, entry: Entry, consumer: Consumer | None) -> None:
        """Hand an event to its handler, and answer for it.

        Args:
            member: whose worker has taken it.
            entry: the event.
            consumer: where events come from now; None when reading has ended.
        """
        held = self._ledger.begin(entry)
        comes_often = held.delivery.deliveries > self._tolerance.suspect_after
        if comes_often and held.delivery.sequence not in self._failed:  # what has failed here has not ended us
            await self._try_out(member, held, entry, consumer)
        else:
            await self._hand_over(member, held, entry)

    def forget(self) -> None:
        """Forget what has failed: the consumer that it came from is gone."""
        self._failed.clear()

    def leave_unread(self, held: Held, error: UndecodableEvent) -> None:
        """Have a message set aside that cannot be read, by `set_unreadable_aside`."""
        self._unreadable.put_nowait((held, error))

    async def set_unreadable_aside(self) -> None:
        """Set aside what cannot be read, until cancelled."""
        while True:
            held, error = await self._unreadable.get()
            await self._put_aside(held, str(error), error.event_type, error.event_id)

    async def _hand_over(self, member: Subscription, held: Held, entry: Entry) -> None:
        try:
            await member.handler(entry.envelope)
        except asyncio.CancelledError as error:
            if is_cancelled():
                self._ledger.put_back(entry, AT_ONCE)
                raise
            await self._note_failure(held, entry, error)  # something that the handler waited for was cancelled, not we
        except Exception as error:  # noqa: BLE001  # whatever went wrong, the event has to come again
            await self._note_failure(held, entry, error)
        else:
            self._ledger.finish(entry)
            self._failed.pop(held.delivery.sequence, None)
            self._ledger.done(held)

    async def _try_out(self, member: Subscription, held: Held, entry: Entry, consumer: Consumer | None) -> None:
        """Handle an event of which processes may have died.

        After a store was away for long, thousands are suspicious; these are handled beside each other. Once a process
        has died, those that it had are handled one at a time: so it is known in the end which it was.
        """
        if self._alone or consumer is None:
            self._ledger.put_back(entry, BACK_FOR)
            return
        trial = self._trials.of(consumer, held.delivery.sequence)
        self._trying += 1
        try:
            deaths = await trial.deaths()
            if deaths >= self._tolerance.max_deaths:
                reason = f"{deaths} processes died, or hung, while they handled it"
                await self._finish_aside(held, entry, reason)
                trial.end()
            elif not self._may_try(deaths):
                self._ledger.put_back(entry, BACK_FOR)
            else:
                await self._try(trial, member, held, entry, alone=deaths > 0)
        except (BusUnavailable, *NATS_ERRORS) as error:
            log.warning("event_not_tried", sequence=held.delivery.sequence, error=told(error))
            self._ledger.put_back(entry, _SET_ASIDE_AGAIN)
        finally:
            self._ledger.put_back(entry, AT_ONCE)  # if nothing has become of it
            self._trying -= 1

    def _may_try(self, deaths: int) -> bool:
        """Tell whether an event of which so many processes have died can be handled beside what is being handled."""
        return not self._alone and (not deaths or self._trying == 1)

    async def _try(self, trial: Trial, member: Subscription, held: Held, entry: Entry, *, alone: bool) -> None:
        self._alone = alone
        try:
            await trial.begin()
            await self._hand_over(member, held, entry)
        finally:
            self._alone = False
            trial.end()

    async def _note_failure(self, held: Held, entry: Entry, error: BaseException) -> None:
        self.failures += 1
        failures = self._failed.pop(held.delivery.sequence, 0) + 1
        retryable = isinstance(error, PenstockError) and error.retryable
        if failures >= self._tolerance.max_failures and not retryable:
            reason = f"its handler failed {failures} times, at last with {told(error)}"
            await self._finish_aside(held, entry, reason)
            return
        self._failed[held.delivery.sequence] = failures
        if len(self._failed) > _REMEMBERED_FAILURES:
            self._failed.popitem(last=False)
        pause = pause_after(failures)
        self._ledger.put_back(entry, pause)
        log.warning(
            "event_handler_failed",
            group=self._group.name,
            event_type=entry.envelope.event_type,
            event_id=entry.envelope.event_id,
            upload=entry.envelope.event.upload_id,
            failures=failures,
            again_after_seconds=pause.total_seconds(),
            error=told(error),
            exc_info=None if isinstance(error, PenstockError) else error,  # a trace is for what nobody foresaw
        )

    async def _finish_aside(self, held: Held, entry: Entry, reason: str) -> None:
        self._ledger.finish(entry)
        await self._put_aside(held, reason, entry.envelope.event_type, entry.envelope.event_id)

    async def _put_aside(self, held: Held, reason: str, event_type: str, event_id: str) -> None:
        """Keep a message where it is in nobody's way; only then let go of the original."""
        try:
            await self._set_aside.keep(
                self._group.name,
                held.data,
                reason=reason,
                sequence=held.delivery.sequence,
                event_type=event_type,
                event_id=event_id,
            )
        except (BusUnavailable, *NATS_ERRORS) as error:
            log.warning("event_not_set_aside", sequence=held.delivery.sequence, reason=reason, error=told(error))
            self._ledger.answer(held, again_after(_SET_ASIDE_AGAIN))
        else:
            self._ledger.answer(held, TERMINATE, final=True)
