"""The bus for one process. It needs nothing and leaves nothing behind: what is in flight dies with the process.

What it promises, and how it stays bounded:

- A group exists from its first subscription on. An event that no open subscription wants is dropped, so subscribe
  before you publish. What a group has taken in stays until a handler returns for it, also over times in which nobody
  is subscribed.
- An event whose ID waits, pauses or is being handled in a group already is not taken in again, as JetStream does it.
  So a queue holds at most the different events of the uploads in processing, however often they are announced.
- Handlers may always publish. What they publish follows from events that were let in, and to refuse it, or to make it
  wait, could leave two full groups waiting for each other. Everybody else gets `BusUnavailable` while a group that
  would get the event holds `max_pending`. Nobody ever waits for room.
- Events are shared by all groups, not copied. Whoever listens hears them once they are taken.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, Self

from ..base import Bus, BusUnavailable
from ..group import Group
from ..hearers import Hearers
from ..idle import wake_one
from ..memory import Memory
from ..tasks import owned_tasks
from .retries import Retries
from .subscription import Subscription, handling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ...clock import Clock
    from ...events.types import Envelope
    from ..base import Filter, Handler, Hearer
    from ..tasks import OwnedTasks

MAX_PENDING: Final = 100_000
"""Events per group, at 0.8 KiB each: some 80 MiB at the very most, and far more than uploads are let in at once."""

_BACKLOG: Final = 1000
"""From this many waiting events on, publishing lets the handlers run before it returns."""


class LocalBus(Bus):
    """Hands events to handlers in the same process, within microseconds.

    A handler that raises gets the event again after a pause that grows from 0.1 s to 30 s; meanwhile its worker does
    other work.
    """

    def __init__(self, clock: Clock, *, max_pending: int = MAX_PENDING) -> None:
        """`max_pending`: how many events a group may hold before new ones are refused (not those of handlers)."""
        self.memory = Memory()
        self._max_pending = max_pending
        self._retries = Retries(clock)
        self._groups: dict[str, Group[Subscription]] = {}
        self._interested: dict[type, tuple[Group[Subscription], ...]] = {}
        self._hearers = Hearers()
        self._workers: set[OwnedTasks] = set()
        self._context: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        self._context = AsyncExitStack()
        tasks = await self._context.enter_async_context(owned_tasks())
        tasks.start(self._retries.run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Cancel whatever handlers still run, and forget all events."""
        context, self._context = self._context, None
        for workers in tuple(self._workers):
            await workers.stop()
        if context is not None:
            await context.aclose()

    async def publish(self, *envelopes: Envelope) -> None:
        """Hand events over to every group that wants them.

        Raises:
            BusUnavailable: the bus is not open, or a group is full: the first of the events that had to be refused,
                and those after it, were not taken.
        """
        if self._context is None:
            raise BusUnavailable("the bus is not open: events are published between its start and its end")
        limit = sys.maxsize if handling.get() else self._max_pending
        backlog = 0
        for envelope in envelopes:
            for group, members in self._recipients(envelope, limit):
                group.admit(envelope, members)
                wake_one(members)
                backlog = max(backlog, group.pending)
            self._hearers.tell(envelope)
        if backlog > _BACKLOG:
            await asyncio.sleep(0)

    def _recipients(self, envelope: Envelope, limit: int) -> list[tuple[Group[Subscription], tuple[Subscription, ...]]]:
        """Return who is to get an event and does not have it already."""
        recipients = []
        for group in self._interested.get(type(envelope.event), ()):
            members = group.wanted_by(envelope)
            if members and not group.holds(envelope.event_id):
                if group.pending >= limit:
                    raise BusUnavailable(
                        f"group {group.name!r} has {group.pending} events waiting, which is the limit; "
                        f"{envelope.event_type} {envelope.event_id} was not taken. Publish it again later."
                    )
                recipients.append((group, members))
        return recipients

    @asynccontextmanager
    async def subscribe(
        self, group: str, types: Sequence[type], handler: Handler, *, workers: int, only: Filter | None = None
    ) -> AsyncIterator[None]:
        """Deliver events to `handler` while the context is open; see the port.

        Raises:
            ValueError: fewer than one worker, or no types.
            BusUnavailable: the bus is not open.
        """
        if workers < 1 or not types:
            raise ValueError(f"group {group!r}: {workers} workers for {len(types)} types of events would do nothing")
        if self._context is None:
            raise BusUnavailable(f"the bus is not open: group {group!r} can subscribe between its start and its end")
        joined = self._groups.setdefault(group, Group(group))
        subscription = Subscription(joined, types, only, handler)
        async with owned_tasks() as tasks:
            for _ in range(workers):
                tasks.start(subscription.work(self._retries))
            self._workers.add(tasks)
            joined.join(subscription)
            self._note_interests()
            try:
                yield
            finally:
                self._workers.discard(tasks)
                joined.leave(subscription)
                self._note_interests()
                for other in joined.members:
                    other.wake_all()

    @asynccontextmanager
    async def listen(self, types: Sequence[type], hearer: Hearer) -> AsyncIterator[None]:
        """Have `hearer` hear what is published while the context is open; see the port.

        Raises:
            BusUnavailable: the bus is not open.
        """
        if self._context is None:
            raise BusUnavailable("the bus is not open: one can listen between its start and its end")
        with self._hearers.added(types, hearer):
            yield

    def groups(self) -> list[str]:
        """Return the groups that have, or had, a subscription, in alphabetical order."""
        return sorted(self._groups)

    def pending(self, group: str) -> int:
        """Return how many events of `group` wait, pause after a failure, or are being handled."""
        known = self._groups.get(group)
        return known.pending if known else 0

    def failures(self, group: str) -> int:
        """Return how often a handler of `group` has raised, for metrics."""
        known = self._groups.get(group)
        return known.failures if known else 0

    def _note_interests(self) -> None:
        """Note which groups have a member for which types."""
        types = {kind for group in self._groups.values() for member in group.members for kind in member.types}
        self._interested = {
            kind: tuple(g for g in self._groups.values() if any(kind in m.types for m in g.members)) for kind in types
        }
