"""The messages that we have to answer for, each until it is answered, and the events that they have brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from nats import errors

from ..group import Entry
from .messages import ACK, IN_PROGRESS, Delivery, again_after

if TYPE_CHECKING:
    from datetime import timedelta

    from ...clock import Clock
    from ...events.types import Envelope
    from ...jetstream import NatsClient
    from ..group import Group
    from .subscription import Subscription

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Held:
    """A message that the server believes to be in our hands."""

    delivery: Delivery
    data: bytes
    came_at: float
    heard_at: float
    """When the server last heard that we have it. Both in monotonic seconds."""
    entry: Entry | None = None
    """Its place in the group; None when it cannot be read."""
    began: bool = False
    """Whether it is being handled."""


class Ledger:
    """Every message is in here once, by its sequence in the stream."""

    def __init__(self, client: NatsClient, clock: Clock, group: Group[Subscription]) -> None:
        self._client = client
        self._clock = clock
        self._group = group
        self._held: dict[int, Held] = {}
        self._entries: dict[int, Held] = {}
        """By the number in the group: the messages whose events wait or are being handled."""
        self.settled = 0
        """How many messages were answered for good."""

    def __len__(self) -> int:
        return len(self._held)

    def take(self, delivery: Delivery, data: bytes) -> Held | None:
        """Take a message in; None when we have it already, and have been slow to say so."""
        held = self._held.get(delivery.sequence)
        now = self._clock.monotonic()
        if held is not None:
            held.delivery, held.heard_at = delivery, now
            return None
        held = self._held[delivery.sequence] = Held(delivery, data, now, now)
        return held

    def admit(self, held: Held, envelope: Envelope, members: tuple[Subscription, ...], name: str) -> None:
        """Have the event of a message wait in the group, for `members`."""
        held.entry = self._group.admit(envelope, members, name)
        self._entries[held.entry.number] = held

    def repeat(self, held: Held, name: str) -> None:
        """Answer a message whose event waits or is being handled already: what follows is the answer to another one.

        There is none where the event is being handled and its message was forgotten. Then this one takes that place:
        were it acknowledged, the event would be lost if its handler failed.
        """
        unanswered = self._being_handled_unanswered(name)
        if unanswered is None:
            self.done(held)
        else:
            unanswered.delivery, unanswered.heard_at = held.delivery, held.heard_at
            self._held[held.delivery.sequence] = unanswered

    def _being_handled_unanswered(self, name: str) -> Held | None:
        """Return the message of an event that is being handled, if it was forgotten; else None."""
        for held in self._entries.values():
            if held.entry is not None and held.entry.name == name:
                return None if self._held.get(held.delivery.sequence) is held else held
        return None

    def begin(self, entry: Entry) -> Held:
        """Take down that an event is being handled; return the message that has brought it."""
        held = self._entries[entry.number]
        held.began = True
        return held

    def finish(self, entry: Entry) -> None:
        """Take an event that was handled out of the group; its message is still to be answered."""
        self._group.finish(entry)
        del self._entries[entry.number]

    def put_back(self, entry: Entry, pause: timedelta) -> None:
        """Have an event that was taken delivered again after a pause, unless it is finished already."""
        held = self._entries.get(entry.number)
        if held is not None:
            self.finish(entry)
            self.answer(held, again_after(pause))

    def give_back(self, held: Held, pause: timedelta) -> bool:
        """Have an event that waits delivered again after a pause; tell whether it waited."""
        waited = self._withdraw(held)
        if waited:
            self.answer(held, again_after(pause))
        return waited

    def _withdraw(self, held: Held) -> bool:
        if held.entry is None or not self._group.withdraw(held.entry):
            return False
        del self._entries[held.entry.number]
        return True

    def pass_over(self, delivery: Delivery) -> None:
        """Acknowledge a message that was never taken in."""
        self.settled += 1
        self.say(delivery, ACK)

    def done(self, held: Held) -> None:
        """Acknowledge a message."""
        self.answer(held, ACK, final=True)

    def answer(self, held: Held, answer: bytes, *, final: bool = False) -> None:
        """Say what has become of a message, and forget it. It never comes again if this is `final`."""
        if self._held.get(held.delivery.sequence) is held:
            del self._held[held.delivery.sequence]
            self.settled += final
            self.say(held.delivery, answer)

    def say(self, delivery: Delivery, answer: bytes) -> None:
        """Answer a message. An answer that gets lost has it delivered again, which does no harm."""
        try:
            self._client.send(delivery.reply, answer)
        except errors.Error as error:
            log.warning("nats_answer_lost", sequence=delivery.sequence, error=str(error) or type(error).__name__)

    def beat(self, every: timedelta) -> None:
        """Tell the server of each message that we still have it, if it has not heard so for as long as `every`."""
        now = self._clock.monotonic()
        for held in self._held.values():
            if now - held.heard_at >= every.total_seconds():
                held.heard_at = now
                self.say(held.delivery, IN_PROGRESS)

    def waiting(self) -> list[Held]:
        """Return the messages that wait for a worker."""
        return [held for held in self._held.values() if held.entry is not None and not held.began]

    def forget(self) -> None:
        """Forget all messages: the consumer that they came from is gone, and nobody waits for an answer.

        What is being handled goes on, and may come again: see `repeat`.
        """
        for held in self.waiting():
            self._withdraw(held)
        self._held = {}
