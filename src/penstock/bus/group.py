"""The events that wait for one group, and which of its members may take them. Nothing here waits or looks at a clock.

Events are queued by who wants them: members that want the same events share one queue, so none sits in front of a busy
member while another one is idle.
"""

from __future__ import annotations

import zlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Generic, TypeVar

from ..events.codec import decode, encode
from ..events.types import Envelope
from .base import Filter

_NEAR: Final = 1000
"""Events in front of a queue that are kept as they are; those further behind take a third of the memory."""


class Entry:
    """One event on its way through a group, from its publication until a handler has returned.

    Attributes:
        number: counts the group's events; the lower one came first.
        name: what tells a repeat of the event; empty for none.
        failures: how often a handler has raised.
    """

    __slots__ = ("_held", "failures", "name", "number")

    def __init__(self, number: int, envelope: Envelope, name: str) -> None:
        self.number = number
        self.name = name
        self.failures = 0
        self._held: Envelope | bytes = envelope

    @property
    def envelope(self) -> Envelope:
        """The event."""
        return self._held if isinstance(self._held, Envelope) else decode(zlib.decompress(self._held))

    def pack(self) -> None:
        """Make it small, as it has long to wait; what cannot be written stays as it is."""
        with suppress(UnicodeEncodeError):
            self._held = zlib.compress(encode(self.envelope), 1)

    def unpack(self) -> Entry:
        """Make it ready to be handled."""
        self._held = self.envelope
        return self


@dataclass(slots=True, eq=False)
class Member:
    """One subscription's place in its group."""

    types: frozenset[type]
    only: Filter | None
    queues: list[deque[Entry]] = field(default_factory=list)
    """What it may take from; kept by the group."""

    def wants(self, envelope: Envelope) -> bool:
        """Tell whether the subscription asks for this event."""
        return type(envelope.event) in self.types and (self.only is None or self.only(envelope))


M = TypeVar("M", bound=Member)


class Group(Generic[M]):
    """Every event is in here once, by its name: a repeat of one that waits or is being handled adds nothing.

    The name is the event's ID, unless whoever takes it in knows a better one.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: list[M] = []
        self.pending = 0
        """Events that wait, pause, or are being handled."""
        self.failures = 0
        """How often a handler has raised."""
        self._numbered = 0
        self._names: set[str] = set()
        self._queues: dict[tuple[M, ...], deque[Entry]] = {}
        self._unwanted: deque[Entry] = deque()
        """Taken in while somebody wanted them, who has left since: for the next member that does."""

    def wanted_by(self, envelope: Envelope) -> tuple[M, ...]:
        """Return the members that ask for this event."""
        return tuple([member for member in self.members if member.wants(envelope)])

    def holds(self, name: str) -> bool:
        """Tell whether an event of this name waits, pauses, or is being handled."""
        return name in self._names

    def admit(self, envelope: Envelope, members: tuple[M, ...], name: str | None = None) -> Entry:
        """Take a new event in for `members`, which want it; return its entry. No `name` (None): its ID."""
        self._numbered += 1
        self.pending += 1
        name = envelope.event_id if name is None else name
        if name:
            self._names.add(name)
        entry, queue = Entry(self._numbered, envelope, name), self._queue(members)
        if len(queue) >= _NEAR:
            entry.pack()
        queue.append(entry)
        return entry

    def take(self, member: M) -> Entry | None:
        """Hand out the oldest event that this member may handle; None when there is none."""
        queues = member.queues
        if len(queues) == 1:
            return queues[0].popleft().unpack() if queues[0] else None
        waiting = [queue for queue in queues if queue]
        return min(waiting, key=lambda queue: queue[0].number).popleft().unpack() if waiting else None

    def finish(self, entry: Entry) -> None:
        """Forget an event that was handled."""
        self.pending -= 1
        self._names.discard(entry.name)

    def withdraw(self, entry: Entry) -> bool:
        """Forget an event that still waits; tell whether it did."""
        for queue in (*self._queues.values(), self._unwanted):
            if entry in queue:
                queue.remove(entry)
                self.finish(entry)
                return True
        return False

    def give_back(self, entry: Entry, *, first: bool) -> tuple[M, ...]:
        """Queue again what was taken and not handled, in front or at the end; return who may take it now."""
        members = self.wanted_by(entry.envelope)
        queue = self._queue(members) if members else self._unwanted
        if first:
            queue.appendleft(entry)
        else:
            queue.append(entry)
        return members

    def join(self, member: M) -> None:
        """Add a member; it shares what waits already."""
        self._rearrange([*self.members, member])

    def leave(self, member: M) -> None:
        """Remove a member. What it alone wanted waits for the next one that does."""
        self._rearrange([other for other in self.members if other is not member])

    def _queue(self, members: tuple[M, ...]) -> deque[Entry]:
        queue = self._queues.get(members)
        if queue is None:
            queue = self._queues[members] = deque()
            for member in members:
                member.queues.append(queue)
        return queue

    def _rearrange(self, members: list[M]) -> None:
        """Queue everything anew for other members, in its old order."""
        waiting = chain(*self._queues.values(), self._unwanted)
        entries = sorted(waiting, key=lambda entry: entry.number)
        for member in self.members:
            member.queues.clear()
        self._queues.clear()
        self._unwanted.clear()
        self.members = members
        for entry in entries:
            self.give_back(entry, first=False)
