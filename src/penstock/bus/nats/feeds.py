"""How messages come from a consumer: asked for (pull), or sent to whoever listens (push)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from ...jetstream.headers import NO_RESPONDERS, header_of, status_of
from .messages import CONTROL, delivery_of
from .streams import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...clock import Clock
    from ...jetstream import NatsClient
    from .consumers import Consumer
    from .messages import Delivery

    Deliver = Callable[[Delivery, bytes], None]
    """Takes a message; must not raise."""

_ASK_FOR_SECONDS: Final = 30
_SIGN_OF_LIFE_SECONDS: Final = 5
_SILENCE_SECONDS: Final = 2.5 * _SIGN_OF_LIFE_SECONDS
_QUESTION: Final = b'{"batch": %%d, "expires": %d, "idle_heartbeat": %d}' % (
    _ASK_FOR_SECONDS * 10**9,
    _SIGN_OF_LIFE_SECONDS * 10**9,
)
"""For so many messages; times in nanoseconds."""


class Feed(Protocol):
    """Delivers messages of one consumer while it is open."""

    def open(self) -> None:
        """Begin."""
        ...

    def end(self) -> None:
        """Have the server send nothing more; what is on its way is still delivered, until `close`."""
        ...

    def close(self) -> None:
        """Deliver nothing more."""
        ...

    def ask(self) -> None:
        """Have as many messages delivered as there is room for, if this is a feed that can be told."""
        ...

    def look(self) -> None:
        """Find out whether the server has forgotten us. To be called every second or so."""
        ...


class PullFeed(Feed):
    """Asks for as many messages as there is room for, and no more.

    A question stays with the server until it is answered in full or half a minute is over; meanwhile it gives a sign
    of life every few seconds. What is asked for is counted over all questions, because messages do not tell which
    one they answer.
    """

    def __init__(
        self,
        client: NatsClient,
        consumer: Consumer,
        clock: Clock,
        *,
        deliver: Deliver,
        room: Callable[[], int],
        missing: Callable[[], None],
    ) -> None:
        """Build a feed.

        Args:
            client: the connection.
            consumer: where messages come from.
            clock: measures silence.
            deliver: takes each message.
            room: tells how many more messages can be taken.
            missing: called when the server says that the consumer is not there.
        """
        self._client = client
        self._clock = clock
        self._deliver = deliver
        self._missing = missing
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.{consumer.name}".encode()
        self._inbox = client.new_inbox().encode()
        self._questions = 0
        self._coming = 0
        self._heard_at = 0.0
        self._room = room
        self._handle = 0
        self._is_open = False
        self._will_ask = False

    def open(self) -> None:
        """Listen for answers, without asking yet."""
        self._handle = self._client.listen(f"{self._inbox.decode()}.*", self._receive)
        self._client.on_reconnected.append(self._forget)
        self._is_open = True

    def end(self) -> None:
        """Have all questions dropped."""
        self._client.end(self._handle)

    def close(self) -> None:
        """Listen no longer; the server drops questions of which nobody hears the answer."""
        self._is_open = False
        self._client.unlisten(self._handle)
        self._client.on_reconnected.remove(self._forget)

    def ask(self) -> None:
        """Ask for as many messages as there is room for, once for all that is received and done in one turn."""
        if not self._will_ask:
            self._will_ask = True
            asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        """Ask, unless enough are coming already."""
        self._will_ask = False
        if not self._is_open:
            return
        # Many small questions would cost more than the messages: while some are on their way, wait for more room.
        wanted = self._room() - self._coming
        if wanted > 0 and (self._coming == 0 or wanted >= self._coming) and self._client.is_connected:
            if self._coming == 0:
                self._heard_at = self._clock.monotonic()
            self._coming += wanted
            self._questions += 1
            reply = b"%b.%x" % (self._inbox, self._questions)
            self._client.send(self._next, _QUESTION % wanted, reply=reply)

    def look(self) -> None:
        """Ask again if there was no sign of life for too long."""
        if self._coming and self._clock.monotonic() - self._heard_at > _SILENCE_SECONDS:
            self._forget()
        else:
            self.ask()

    def _forget(self) -> None:
        """Ask anew: our questions are lost, with the connection or otherwise."""
        self._coming = 0
        self.ask()

    def _receive(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        self._heard_at = self._clock.monotonic()
        delivery = delivery_of(reply)
        if delivery is not None:
            self._coming = max(0, self._coming - 1)
            self._deliver(delivery, data)
            self.ask()
            return
        status = status_of(headers)
        if status == CONTROL:
            return
        # A question is over, with some of what it asked for undelivered.
        left = header_of(headers, b"Nats-Pending-Messages")
        self._coming = max(0, self._coming - int(left)) if left.isdigit() else 0
        if status == b"408":
            self.ask()
        elif status == NO_RESPONDERS or b"Consumer" in headers:
            self._missing()
        # Anything else is a complaint; `look` asks again, a little later.


class PushFeed(Feed):
    """Takes what the server sends to the members of a delivery group, as the Go services do.

    The server sends without being asked, up to the consumer's limit of unacknowledged messages.
    """

    def __init__(self, client: NatsClient, consumer: Consumer, *, deliver: Deliver) -> None:
        self._client = client
        self._consumer = consumer
        self._deliver = deliver
        self._handle = 0

    def open(self) -> None:
        """Listen, as one of the group."""
        subject, group = self._consumer.deliver_subject, self._consumer.deliver_group
        self._handle = self._client.listen(subject, self._receive, queue=group)

    def end(self) -> None:
        """Leave the group: what it is sent from now on goes to the others."""
        self._client.end(self._handle)

    def close(self) -> None:
        """Listen no longer; the consumer stays as it is."""
        self._client.unlisten(self._handle)

    def ask(self) -> None:
        """Do nothing: the server does not ask."""

    def look(self) -> None:
        """Do nothing: subscriptions go on after a reconnection, and the consumer itself is looked at anyway."""

    def _receive(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        delivery = delivery_of(reply)
        if delivery is not None:
            self._deliver(delivery, data)
        elif status_of(headers) == CONTROL:
            question = reply or header_of(headers, b"Nats-Consumer-Stalled")
            if question:  # whether we keep up; we do, since nothing waits in the client
                self._client.send(question)
