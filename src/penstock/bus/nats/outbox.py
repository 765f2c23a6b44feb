"""Publishes to JetStream: many messages in flight, each one confirmed by the server, said again where it was not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from nats import errors

from ...jetstream import Deadlines
from ...jetstream.headers import header_block, header_of
from ..base import BusUnavailable
from .messages import PublishAnswer, answer_of
from .streams import EVENTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ...clock import Clock
    from ...jetstream import NatsClient

MESSAGE_ID: Final = "Nats-Msg-Id"
"""The header by which the server recognises repeats."""
_IN_FLIGHT: Final = 4096
"""Messages that wait for their confirmation. Who wants to publish more waits."""
_UNSENT_BYTES: Final = 4 * 1024 * 1024
_ONE_TRY: Final = timedelta(seconds=2)
_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 1.0


class Message(NamedTuple):
    """One message to publish."""

    subject: bytes
    headers: bytes
    """The header block; empty for none."""
    data: bytes

    def anew(self, first: int) -> Message:
        """Return it with an ID that is not known since before message number `first`, by whichever instance."""
        known = header_of(self.headers, MESSAGE_ID.encode())
        return self._replace(headers=header_block({MESSAGE_ID: f"{known.decode()}@{first}"}))


class _Batch:
    """Messages that were published together, and what has become of them."""

    def __init__(self, messages: Sequence[Message], tokens: Sequence[bytes]) -> None:
        self.unconfirmed = dict(zip(tokens, messages, strict=True))
        self.open = len(messages)
        self.answer = PublishAnswer("no confirmation")
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(self, token: bytes, answer: PublishAnswer) -> None:
        if answer.error:
            self.answer = answer
        else:
            del self.unconfirmed[token]
        self.open -= 1
        if self.open == 0:
            self.give_up()

    def give_up(self) -> None:
        """Wait no longer."""
        if not self.settled.done():
            self.settled.set_result(None)


class Outbox:
    """Confirmed publishing over one connection."""

    def __init__(
        self,
        client: NatsClient,
        clock: Clock,
        *,
        timeout: timedelta,
        make_streams: Callable[[], Awaitable[None]],
        first_event: Callable[[], int],
    ) -> None:
        """Build it.

        Args:
            client: the connection.
            clock: measures pauses.
            timeout: how long to wait for the confirmation of a message, repeats included.
            make_streams: called when no stream takes a message.
            first_event: the number of the first message in the stream of events, as of a moment ago.
        """
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._make_streams = make_streams
        self._first_event = first_event
        self._inbox = client.new_inbox().encode()
        self._waiting: dict[bytes, _Batch] = {}
        self._numbered = 0
        self._less = asyncio.Event()
        self._deadlines = Deadlines(_Batch.give_up)
        self._handle = 0

    def open(self) -> None:
        """Listen for confirmations."""
        self._handle = self._client.listen(f"{self._inbox.decode()}.*", self._on_answer)
        self._client.on_reconnected.append(self._on_reconnected)

    def close(self) -> None:
        """Listen no longer."""
        self._client.unlisten(self._handle)
        self._client.on_reconnected.remove(self._on_reconnected)
        self._deadlines.close()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages in their order; return when all are stored.

        Raises:
            BusUnavailable: not all are, as far as we know.
        """
        for start in range(0, len(messages), _IN_FLIGHT):
            await self._publish(messages[start : start + _IN_FLIGHT])

    async def _publish(self, messages: Sequence[Message]) -> None:
        ends_at = self._clock.monotonic() + self._timeout.total_seconds()
        pause = _PAUSE_SECONDS
        while True:
            batch = await self._try(messages, ends_at)
            if not batch.unconfirmed:
                return
            if self._clock.monotonic() + pause >= ends_at:
                raise BusUnavailable(
                    f"NATS did not confirm {len(batch.unconfirmed)} of {len(messages)} events within "
                    f"{self._timeout.total_seconds():g} s: {batch.answer.error}. They will be published again."
                )
            messages = list(batch.unconfirmed.values())
            if batch.answer.no_stream:
                await self._make_streams()
            await self._clock.sleep(timedelta(seconds=pause))
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)

    async def _try(self, messages: Sequence[Message], ends_at: float) -> _Batch:
        """Publish once, and wait for the confirmations a while."""
        seconds = min(_ONE_TRY.total_seconds(), max(0.0, ends_at - self._clock.monotonic()))
        batch = _Batch(messages, self._tokens(len(messages)))
        self._deadlines.add(batch, seconds)
        try:
            if self._is_full(len(messages)):
                await self._wait_for_room(len(messages), seconds)
            self._say(batch)
            await batch.settled
        except TimeoutError:
            pass
        except errors.Error as error:
            batch.answer = PublishAnswer(str(error))
        finally:
            self._deadlines.remove(batch)
            for token in batch.unconfirmed:
                self._waiting.pop(token, None)
            self._less.set()
        return batch

    def _say(self, batch: _Batch) -> None:
        for token, message in batch.unconfirmed.items():
            self._waiting[token] = batch
            reply = b"%b.%b" % (self._inbox, token)
            self._client.send(message.subject, message.data, reply=reply, headers=message.headers)

    def _is_full(self, wanted: int) -> bool:
        if not self._waiting:
            return False
        return len(self._waiting) + wanted > _IN_FLIGHT or self._client.unsent_bytes > _UNSENT_BYTES

    async def _wait_for_room(self, wanted: int, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while self._is_full(wanted):
                self._less.clear()
                await self._less.wait()

    def _tokens(self, number: int) -> list[bytes]:
        first = self._numbered
        self._numbered += number
        return [b"%x" % token for token in range(first, first + number)]

    def _on_answer(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        del reply
        token = subject[len(self._inbox) + 1 :]
        batch = self._waiting.pop(token, None)
        if batch is not None:
            answer = answer_of(headers, data)
            if answer.repeats and self._is_gone(answer.repeats, batch.unconfirmed[token]):
                batch.unconfirmed[token] = batch.unconfirmed[token].anew(self._first_event())
                answer = PublishAnswer("the server knows its ID, and has emptied the stream since")
            batch.note(token, answer)

    def _is_gone(self, number: int, message: Message) -> bool:
        """Tell whether an event that was published before is not in the stream any more: then it has to be said anew.

        A server that is told to empty a stream goes on to know the IDs of what was in it.
        """
        return message.subject == EVENTS.encode() and number < self._first_event()

    def _on_reconnected(self) -> None:
        """Say again what the lost connection may have swallowed; the server knows repeats by their ID."""
        for batch in set(self._waiting.values()):
            batch.give_up()
