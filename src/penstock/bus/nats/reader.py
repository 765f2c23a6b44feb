"""Reads for one group: keeps its consumer, takes messages in, and has them wait for the workers of the subscriptions.

Until a message is answered, the server hears every third of its patience that we still have it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ...events.codec import UndecodableEvent, UnknownEventType, decode
from ...events.identity import identity_among_all
from ..base import BusUnavailable
from ..group import Group
from ..idle import wake_one
from .failures import NATS_ERRORS, told
from .feeds import PullFeed, PushFeed
from .handling import Handling
from .ledger import Ledger
from .messages import ACK, AT_ONCE, BACK_FOR, again_after
from .own import OwnEvents

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo

    from ...clock import Clock
    from ...events.types import Envelope
    from ...jetstream import NatsClient
    from ..group import Entry
    from .consumers import Consumer, Consumers
    from .feeds import Feed
    from .handling import Tolerance
    from .ledger import Held
    from .messages import Delivery
    from .set_aside import SetAside
    from .subscription import Subscription
    from .trials import Trials

log = structlog.get_logger(__name__)

_REMEMBERED_MEMBERS: Final = 32
_TICK: Final = timedelta(seconds=1)
_AT_LEAST: Final = timedelta(milliseconds=100)
"""Between two looks at the consumer."""
_WEIGHT: Final = 0.02
"""Of the latest message in the share of those that somebody wants."""
_LEAST_WANTED: Final = 1 / 64
_WAITS_LONG_SECONDS: Final = 2.0
"""An event that has waited so long for a worker goes back, so that another instance can have it."""


class Reader:
    """One consumer, and the subscriptions that share what comes from it."""

    def __init__(
        self,
        name: str,
        *,
        client: NatsClient,
        consumers: Consumers,
        set_aside: SetAside,
        clock: Clock,
        trials: Trials,
        look_every: timedelta,
        tolerance: Tolerance,
    ) -> None:
        """Build a reader for the group `name`."""
        self.group: Group[Subscription] = Group(name)
        self.types: set[type] = set()
        """What was ever subscribed to."""
        self._client = client
        self._consumers = consumers
        self._clock = clock
        self._look_every = look_every
        self._ledger = Ledger(client, clock, self.group)
        self._handling = Handling(self.group, self._ledger, set_aside=set_aside, trials=trials, tolerance=tolerance)
        self._left: deque[Subscription] = deque(maxlen=_REMEMBERED_MEMBERS)
        self._binding = asyncio.Lock()
        self._consumer: Consumer | None = None
        self._feed: Feed | None = None
        self._ended: list[Feed] = []
        """From which nothing more comes but what was on its way."""
        self.trouble = ""
        """Why no events come, as of the last look, in a sentence; empty when they do."""
        self._look = asyncio.Event()
        self._own = OwnEvents()
        self._published = 0
        self._pending = 0
        self._counted = (0, 0)
        self._undelivered = 0
        """Messages that wait at the server, as it has said with the latest one."""
        self._wanted = 1.0
        """Which share of the messages is for somebody; the stream carries everybody's."""

    @property
    def pending(self) -> int:
        """How many events wait or are in work in all instances, as of the last look, and what we know of since."""
        published, settled = self._counted
        known = self._pending + self._published - published - (self._ledger.settled - settled)
        return max(known, self._undelivered + len(self._ledger))

    @property
    def failures(self) -> int:
        """How often a handler has raised."""
        return self._handling.failures

    def expect(self, envelope: Envelope, data: bytes) -> None:
        """Take down that an event is about to be published here."""
        if not any(member.wants(envelope) for member in (*self.group.members, *self._left)):
            self._own.expect(data)

    def note_published(self, envelope: Envelope) -> None:
        """Take down that an event was published here, which a look at the consumer will show only later."""
        if type(envelope.event) in self.types and self.group.wanted_by(envelope):
            self._published += 1

    async def bind(self) -> None:
        """Find or make the consumer, unless that was done.

        Raises:
            BusUnavailable: there is no answer, or it cannot be made.
        """
        async with self._binding:
            if self._consumer is None:
                try:
                    await self._bind()
                except NATS_ERRORS as error:
                    raise BusUnavailable(
                        f"group {self.group.name!r}: no consumer on NATS: {told(error)}. Try again later."
                    ) from error

    async def _bind(self) -> None:
        consumer = await self._consumers.find_or_make(self.group.name, frozenset(self.types))
        self._let_go()
        self._consumer = consumer
        if consumer.deliver_subject:
            self._feed = PushFeed(self._client, consumer, deliver=self._receive)
        else:
            self._feed = PullFeed(
                self._client, consumer, self._clock, deliver=self._receive, room=self._room, missing=self._look.set
            )
        self._feed.open()
        self._feed.ask()
        log.info("consumer_bound", group=self.group.name, consumer=consumer.name, pushes=bool(consumer.deliver_subject))

    def _let_go(self) -> None:
        """Forget what came from a consumer that is gone."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        self._ledger.forget()
        self._handling.forget()

    def join(self, member: Subscription) -> None:
        """Begin to hand events to a subscription."""
        self._own.forget()  # it may want some of it
        self.group.join(member)
        if self._feed is not None:
            self._feed.ask()

    def leave(self, member: Subscription) -> None:
        """Hand nothing more to a subscription; what only it wanted goes back."""
        self.group.leave(member)
        self._left.append(member)
        if not self.group.members:
            self._end_feed()  # first of all: what goes back must not be sent to us again
        for held in self._ledger.waiting():
            if held.entry is not None and not self.group.wanted_by(held.entry.envelope):
                self._ledger.give_back(held, AT_ONCE)
        for other in self.group.members:
            other.wake_all()

    def close(self) -> None:
        """Stop reading, and give back what waits. What is on its way goes back when it comes, until `forget_ended`."""
        self._end_feed()
        for held in self._ledger.waiting():
            self._ledger.give_back(held, AT_ONCE)

    def _end_feed(self) -> None:
        if self._feed is not None:
            self._feed.end()
            self._ended.append(self._feed)
        self._feed, self._consumer = None, None

    def forget_ended(self) -> None:
        """Take nothing more of what was on its way when reading ended: after a flush, all of that has come."""
        while self._ended:
            self._ended.pop().close()

    async def run(self) -> None:
        """Keep the consumer, tell the server what we still have, and set aside what cannot be read, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep())
            tasks.create_task(self._tick())
            tasks.create_task(self._handling.set_unreadable_aside())

    async def handle(self, member: Subscription, entry: Entry) -> None:
        """Hand an event to its handler, and answer for it."""
        await self._handling.handle(member, entry, self._consumer)
        if self._feed is not None:
            self._feed.ask()

    def _room(self) -> int:
        """Return how many more messages we can do something with.

        More where most are for nobody: these need no worker, and what is wanted would wait behind them.
        """
        members = self.group.members
        room = sum(member.workers + member.ahead for member in members) - len(self._ledger)
        return int(room / max(self._wanted, _LEAST_WANTED)) if room > 0 else 0

    def _receive(self, delivery: Delivery, data: bytes) -> None:
        self._undelivered = delivery.pending
        if self._consumer is not None and self._consumer.passes_over(delivery):
            self._ledger.say(delivery, ACK)
            return
        if self._own.has_come_back(data):
            self._note_wanted(wanted=False)
            self._ledger.pass_over(delivery)
            return
        held = self._ledger.take(delivery, data)
        if held is None:
            return
        try:
            envelope = decode(data)
        except UnknownEventType:
            self._note_wanted(wanted=False)
            self._ledger.done(held)
        except UndecodableEvent as error:
            if error.event_type and error.event_type not in {kind.__name__ for kind in self.types}:
                self._ledger.done(held)
            else:
                self._handling.leave_unread(held, error)
        else:
            self._admit(held, envelope)

    def _admit(self, held: Held, envelope: Envelope) -> None:
        members = self.group.wanted_by(envelope)
        self._note_wanted(wanted=bool(members))
        if not members:
            # Who has left may come back, or be there in another instance.
            was_wanted = any(member.wants(envelope) for member in self._left)
            pause = BACK_FOR if self.group.members else AT_ONCE  # with none, it cannot come to us again
            self._ledger.answer(held, again_after(pause) if was_wanted else ACK, final=not was_wanted)
        elif (name := identity_among_all(envelope)) and self.group.holds(name):
            self._ledger.repeat(held, name)
        else:
            self._ledger.admit(held, envelope, members, name)
            wake_one(members)

    def _note_wanted(self, *, wanted: bool) -> None:
        self._wanted += _WEIGHT * (wanted - self._wanted)

    async def _tick(self) -> None:
        while True:
            patience = self._consumer.ack_wait if self._consumer else _TICK
            await self._clock.sleep(min(_TICK, patience / 4))
            self._ledger.beat(patience / 3)
            if isinstance(self._feed, PullFeed):
                self._give_back_what_waits()
                self._feed.look()

    def _give_back_what_waits(self) -> None:
        now = self._clock.monotonic()
        for held in self._ledger.waiting():
            if now - held.came_at > _WAITS_LONG_SECONDS and held.entry is not None:
                members = self.group.wanted_by(held.entry.envelope)
                if self._ledger.give_back(held, BACK_FOR):
                    for member in members:
                        member.note_wait()

    async def _keep(self) -> None:
        """Look after the consumer: count what is pending, and find or make it again when it is gone."""
        while True:
            await asyncio.sleep(_AT_LEAST.total_seconds())
            try:
                async with asyncio.timeout(self._look_every.total_seconds()):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            if self._consumer is None or not self._client.is_connected:
                continue
            try:
                await self._check(self._consumer)
            except NATS_ERRORS as error:
                if not self.trouble:
                    log.warning("consumer_not_found_out", group=self.group.name, error=told(error))
                self.trouble = f"The consumer of group {self.group.name!r} is neither found nor made: {told(error)}."
            else:
                self.trouble = ""

    async def _check(self, consumer: Consumer) -> None:
        counted = (self._published, self._ledger.settled)
        info: ConsumerInfo | None = await self._consumers.info(consumer.name)
        if info is not None and consumer.is_same(info):
            self._undelivered = info.num_pending or 0
            self._pending = self._undelivered + (info.num_ack_pending or 0)
            self._counted = counted
            return
        log.warning("consumer_gone", group=self.group.name, consumer=consumer.name, replaced=info is not None)
        async with self._binding:
            if self._consumer is consumer:
                await self._bind()
