"""The port for events: at least once to every group, in no promised order.

A *group* is a set of members that share the events, such as all instances of the coordinator; every group gets every
event that one of its subscriptions asks for. A handler that returns has taken responsibility for the event (it is
acknowledged); a handler that raises gets it again, later.

Whoever only *listens* hears every event as it is published, shares it with nobody, and has missed it if it was away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from ..errors import Unavailable
from ..events.types import Envelope

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from .aside import KeptAside
    from .inheritance import Inheritance
    from .memory import Memory

Handler = Callable[[Envelope], Awaitable[None]]
"""Takes one event. Returning acknowledges it; raising has it delivered again after a pause."""

Hearer = Callable[[Envelope], None]
"""Takes one event at once; what it raises is logged."""

Filter = Callable[[Envelope], bool]
"""Tells whether a subscription wants an event; must be fast and must not raise."""


class BusUnavailable(Unavailable):
    """The event could not be handed over in time. It may or may not be on the bus: publish it again, same ID."""

    code = "bus-unavailable"


class Bus(Protocol):
    """Carries events between the parts."""

    memory: Memory
    """How far back it remembers: what was published before that and is still awaited is to be published again. It may
    move while the bus is open, when a server has lost its disk."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def publish(self, *envelopes: Envelope) -> None:
        """Hand events over, in this order; when this returns, every group will get each at least once.

        Raises:
            BusUnavailable: not all were taken.
        """
        ...

    def subscribe(
        self, group: str, types: Sequence[type], handler: Handler, *, workers: int, only: Filter | None = None
    ) -> AbstractAsyncContextManager[None]:
        """Deliver events of `types` to `handler` while the context is open, at most `workers` at a time.

        `only` narrows the choice, such as to the start events of one step. Two subscriptions of one group share its
        events if both want them. Leaving the context cancels the handlers that still run; their events stay
        unacknowledged.
        """
        ...

    def listen(self, types: Sequence[type], hearer: Hearer) -> AbstractAsyncContextManager[None]:
        """Have `hearer` hear the events of `types` that are published from now on, while the context is open.

        For news that every instance must hear, and that means nothing later: that an upload was cancelled ends what is
        running, wherever that is. It costs no more than what it hears: nothing is stored, shared, acknowledged or
        counted, and what is published while the way to the bus is cut is missed. An event may be heard twice, and
        before any group has it.
        """
        ...

    def groups(self) -> list[str]:
        """Return the groups that have, or had, a subscription here, in alphabetical order."""
        ...

    def pending(self, group: str) -> int:
        """Return how many events wait for a member of `group` or are being handled (for metrics and back-pressure)."""
        ...

    def failures(self, group: str) -> int:
        """Return how often a handler of `group` has raised in this process (for metrics)."""
        ...


@runtime_checkable
class OnServer(Protocol):
    """What a bus can tell whose events are carried by a server on another machine."""

    def trouble(self) -> str:
        """Return what keeps events from being carried now, as a sentence; empty when nothing does."""
        ...

    def set_aside_count(self, group: str) -> int:
        """Return how many events this process could not handle for `group` and has set aside (for metrics)."""
        ...

    def inheritance(self) -> Inheritance:
        """Return what services of another make have left there, while the bus is open."""
        ...

    def kept_aside(self) -> KeptAside:
        """Return what all instances have set aside, while the bus is open."""
        ...
