"""The bus on a NATS server with JetStream, shared with the Go services of oCIS and OpenCloud.

What it needs: a nats-server from 2.9 on, with JetStream. What it leaves there:

- the stream `main-queue`, made as the Go services make it if it is missing, and never changed;
- a durable consumer per group, called `<group>-pull`, unless the group has one already: the Go services' own,
  `<group>` (which the server pushes to) or `<group>-pull`, are used as they are;
- the stream `penstock-set-aside`, once there is something that cannot be handled;
- the stream `penstock-held`, once uploads wait for a virus scanner that is away.

Every published event is confirmed by the server, and known to it by the event's ID for two minutes: publishing again
what may have been lost does no harm.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

from ...errors import PenstockError
from ...events.codec import encode
from ...jetstream import connect
from ..base import Bus, BusUnavailable, OnServer
from ..memory import Memory
from ..notes import KeepsNotes
from ..tasks import owned_tasks
from .consumers import Consumers
from .failures import NATS_ERRORS
from .handling import USUAL
from .inheritance import NatsInheritance
from .listening import Listening
from .notes import NatsNotes
from .outbox import MESSAGE_ID, Message, Outbox
from .reader import Reader
from .set_aside import SetAside
from .streams import EVENTS, make_events_stream, make_set_aside_stream
from .subscription import Subscription
from .trials import Trials
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from nats.js.manager import JetStreamManager

    from ...clock import Clock
    from ...events.types import Envelope
    from ...jetstream import NatsClient, NatsServers
    from ..aside import KeptAside
    from ..base import Filter, Handler, Hearer
    from ..tasks import OwnedTasks
    from .handling import Tolerance

_SUBJECT: Final = EVENTS.encode()
_MESSAGE_ID: Final = MESSAGE_ID.encode()
_LAST_ONES_SECONDS: Final = 1.0
"""How long to wait, when reading ends, for what the server has sent already."""


class EventTooLarge(PenstockError):
    """The event is larger than a message that the server takes; nothing was published."""

    code = "event-too-large"


class NatsBus(Bus, OnServer, KeepsNotes):
    """Carries events over `main-queue`.

    A handler that raises gets the event again after a pause that grows from 0.1 s to 30 s, for ever if the error says
    that it will pass (`retryable`). After many other failures, when several processes died of it (`Tolerance`), and at
    once where it cannot be decoded, the event is set aside: see `set_aside`.
    """

    set_aside: SetAside
    """What could not be handled; there while the bus is open."""

    def __init__(
        self,
        servers: NatsServers,
        clock: Clock,
        *,
        name: str = "penstock",
        patience: timedelta = timedelta(seconds=15),
        publish_timeout: timedelta = timedelta(seconds=10),
        ack_wait: timedelta = timedelta(seconds=10),
        max_ack_pending: int = 10_000,
        tolerance: Tolerance = USUAL,
        look_every: timedelta = timedelta(seconds=2),
    ) -> None:
        """Build a bus.

        Args:
            servers: where NATS is.
            clock: measures pauses.
            name: what the server shows for our connection.
            patience: how long to wait for the first connection.
            publish_timeout: how long to wait for the confirmation of an event, repeats included.
            ack_wait: how long after the last sign of life of whoever has an event it is delivered again, to anybody.
                For the consumers that we make; existing ones keep theirs.
            max_ack_pending: how many events of a group may be in work or wait for another try, in all instances. For
                the consumers that we make.
            tolerance: what an event may do before it is set aside.
            look_every: how often to look whether stream and consumers are still there, and what is pending.
        """
        self.memory = Memory()
        self._servers = servers
        self._clock = clock
        self._name = name
        self._patience = patience
        self._publish_timeout = publish_timeout
        self._ack_wait = ack_wait
        self._max_ack_pending = max_ack_pending
        self._tolerance = tolerance
        self._look_every = look_every
        self._readers: dict[str, Reader] = {}
        self._running: dict[Reader, asyncio.Task[None]] = {}
        self._workers: set[OwnedTasks] = set()
        self._context: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        """Connect, and make the stream if there is none.

        Raises:
            ConfigurationError: the server refuses us.
            NatsUnavailable: no server answers within `patience`.
            BusUnavailable: it has no JetStream.
        """
        async with AsyncExitStack() as stack:
            self._client: NatsClient = await stack.enter_async_context(
                connect(self._servers, name=self._name, patience=self._patience)
            )
            self._manager: JetStreamManager = self._client.jsm()
            self._watch = Watch(self._manager, self._clock, self.memory, every=self._look_every)
            try:
                await self._watch.begin()
            except NATS_ERRORS as error:
                raise BusUnavailable(
                    f"NATS at {self._servers}: no stream {EVENTS}: {error}. "
                    "Is JetStream enabled there (nats-server -js), and may this user use it?"
                ) from error
            self._outbox = Outbox(
                self._client,
                self._clock,
                timeout=self._publish_timeout,
                make_streams=self._make_streams,
                first_event=lambda: self._watch.first,
            )
            self._outbox.open()
            stack.callback(self._outbox.close)
            self._listening = Listening(self._client)
            self.set_aside = SetAside(self._outbox, self._manager, max_bytes=self._client.max_payload)
            self._trials = Trials(self._client, self._manager, self._outbox)
            self._consumers = Consumers(
                self._client,
                self._manager,
                self._clock,
                ack_wait=self._ack_wait,
                max_ack_pending=self._max_ack_pending,
            )
            self._tasks = await stack.enter_async_context(owned_tasks())
            self._tasks.start(self._watch.run())
            self._context = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Cancel whatever handlers still run; their events go back."""
        context, self._context = self._context, None
        for workers in tuple(self._workers):
            await workers.stop()
        for reader in self._readers.values():
            reader.close()
        if context is not None:
            await context.aclose()

    async def publish(self, *envelopes: Envelope) -> None:
        """Hand events over; when this returns, the server has stored them.

        Raises:
            BusUnavailable: not all were confirmed in time.
            EventTooLarge: one is larger than the server's limit; none was published.
        """
        if self._context is None:
            raise BusUnavailable("the bus is not open: events are published between its start and its end")
        messages = [self._message(envelope) for envelope in envelopes]
        for reader in self._readers.values():
            for envelope, message in zip(envelopes, messages, strict=True):
                reader.expect(envelope, message.data)
        await self._outbox.publish(messages)
        for reader in self._readers.values():
            for envelope in envelopes:
                reader.note_published(envelope)

    def _message(self, envelope: Envelope) -> Message:
        data = encode(envelope)
        event_id = envelope.event_id
        headers = b""
        if event_id and event_id.isascii() and event_id.isprintable():
            headers = b"NATS/1.0\r\n%b: %b\r\n\r\n" % (_MESSAGE_ID, event_id.encode())
        if len(headers) + len(data) > self._client.max_payload:
            raise EventTooLarge(
                f"{envelope.event_type} {event_id}: {len(data)} bytes, and the NATS server takes "
                f"{self._client.max_payload} (its setting max_payload)."
            )
        return Message(_SUBJECT, headers, data)

    @asynccontextmanager
    async def subscribe(
        self, group: str, types: Sequence[type], handler: Handler, *, workers: int, only: Filter | None = None
    ) -> AsyncIterator[None]:
        """Deliver events to `handler` while the context is open; see the port.

        Raises:
            ValueError: fewer than one worker, or no types.
            BusUnavailable: the bus is not open, or there is no answer.
        """
        if workers < 1 or not types:
            raise ValueError(f"group {group!r}: {workers} workers for {len(types)} types of events would do nothing")
        if self._context is None:
            raise BusUnavailable(f"the bus is not open: group {group!r} can subscribe between its start and its end")
        reader = self._reader_of(group)
        reader.types |= set(types)
        member = Subscription(types, only, handler, workers=workers, clock=self._clock)
        try:
            async with owned_tasks() as tasks:
                await reader.bind()
                for _ in range(workers):
                    tasks.start(member.work(reader.group, reader.handle))
                self._workers.add(tasks)
                self._start(reader)
                reader.join(member)
                try:
                    yield
                finally:
                    self._workers.discard(tasks)
                    reader.leave(member)
        finally:
            if not reader.group.members:
                await self._stop(reader)

    @asynccontextmanager
    async def listen(self, types: Sequence[type], hearer: Hearer) -> AsyncIterator[None]:
        """Have `hearer` hear what is published while the context is open; see the port.

        Raises:
            BusUnavailable: the bus is not open, or there is no answer.
        """
        if self._context is None:
            raise BusUnavailable("the bus is not open: one can listen between its start and its end")
        with self._listening.added(types, hearer):
            try:
                await self._client.flush()  # the server has our subscription, so nothing said from now on is missed
            except NATS_ERRORS as error:
                raise BusUnavailable(f"NATS at {self._servers} does not answer. Try again later.") from error
            yield

    def groups(self) -> list[str]:
        """Return the groups that have, or had, a subscription of this process, in alphabetical order."""
        return sorted(self._readers)

    def pending(self, group: str) -> int:
        """Return how many events wait for, or are handled by, all instances of `group`, as of a moment ago."""
        reader = self._readers.get(group)
        return reader.pending if reader else 0

    def failures(self, group: str) -> int:
        """Return how often a handler of `group` has raised, for metrics."""
        reader = self._readers.get(group)
        return reader.failures if reader else 0

    def trouble(self) -> str:
        """Return that no server answers, or what is missing there, while that is so."""
        if self._context is None or not self._client.is_connected:
            return f"There is no connection to NATS at {self._servers}."
        troubles = (self._watch.trouble, *(reader.trouble for reader in self._readers.values()))
        return next((f"NATS at {self._servers}: {trouble}" for trouble in troubles if trouble), "")

    def set_aside_count(self, group: str) -> int:
        """Return how many events this process has set aside for `group`, for metrics."""
        return self.set_aside.kept[group]

    def inheritance(self) -> NatsInheritance:
        """Return what Go services have left."""
        return NatsInheritance(self._manager, self._consumers, self._watch)

    def notes(self) -> NatsNotes:
        """Return what all instances have noted down."""
        return NatsNotes(self._client, self._manager)

    def kept_aside(self) -> KeptAside:
        """Return what all instances have set aside."""
        return self.set_aside

    def _reader_of(self, group: str) -> Reader:
        known = self._readers.get(group)
        if known is not None:
            return known
        reader = self._readers[group] = Reader(
            group,
            client=self._client,
            consumers=self._consumers,
            set_aside=self.set_aside,
            clock=self._clock,
            look_every=self._look_every,
            trials=self._trials,
            tolerance=self._tolerance,
        )
        return reader

    def _start(self, reader: Reader) -> None:
        if reader not in self._running:
            self._running[reader] = self._tasks.start(reader.run())

    async def _stop(self, reader: Reader) -> None:
        """Stop reading once nobody is subscribed."""
        task = self._running.pop(reader, None)
        reader.close()
        with suppress(*NATS_ERRORS):  # a server that is away will miss us by itself
            async with asyncio.timeout(_LAST_ONES_SECONDS):
                await self._client.flush()
        reader.forget_ended()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _make_streams(self) -> None:
        """Make what is missing, after a message found no stream."""
        try:
            await make_events_stream(self._manager)
            await make_set_aside_stream(self._manager)
        except NATS_ERRORS:
            return  # whoever publishes goes on trying, and says so in the end
