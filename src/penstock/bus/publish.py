"""Puts events into envelopes and hands them to the bus."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..events.codec import seal
from ..ids import new_event_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..clock import Clock
    from ..core.emit import Emit
    from ..events.types import Envelope, Event
    from .base import Bus, Handler


class Publisher:
    """Publishes events with the time of sending and an ID of this sending, as the Go services do."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._first: list[Handler] = []

    @contextmanager
    def heard_first(self, handler: Handler) -> Iterator[None]:
        """Have `handler` hear what `publish` is given before the bus does, while the context is open.

        For who keeps something of it that others rely on: a bus without memory may take an event along when the
        process dies, after one of its readers has acted on it and before another one has.
        """
        self._first.append(handler)
        try:
            yield
        finally:
            self._first.remove(handler)

    async def publish(
        self,
        event: Event,
        *,
        event_id: str = "",
        initiator_id: str = "",
        causation_id: str = "",
        trace_parent: str = "",
    ) -> Envelope:
        """Publish one event; return it as it was sent.

        Args:
            event: what happened.
            event_id: names the event, so that a repeat is recognised: `ids.derived_id` wherever it may be said
                twice. Empty: a new random one, for what only happens once.
            initiator_id: the client that began the upload, if known.
            causation_id: the event that this one answers, if it answers one.
            trace_parent: W3C `traceparent` of the current span, if there is one.

        Raises:
            BusUnavailable: it may or may not have been taken. Publish again, with the same `event_id`. What those raise
                who hear first is to be treated likewise.
        """
        envelope = self._seal(event, event_id, initiator_id, causation_id, trace_parent)
        for handler in self._first:
            await handler(envelope)
        await self._bus.publish(envelope)
        return envelope

    async def emit(self, *emits: Emit, causation_id: str = "", trace_parent: str = "") -> None:
        """Publish what the state machine said, in this order and in one call of the bus.

        Raises:
            BusUnavailable: not all were taken. Emit all again.
        """
        await self._bus.publish(
            *(self._seal(emit.event, emit.event_id, emit.initiator_id, causation_id, trace_parent) for emit in emits)
        )

    def _seal(self, event: Event, event_id: str, initiator_id: str, causation_id: str, trace_parent: str) -> Envelope:
        return seal(
            event,
            event_id=event_id or new_event_id(),
            id=new_event_id(),
            timestamp=self._clock.now(),
            initiator_id=initiator_id,
            trace_parent=trace_parent,
            causation_id=causation_id,
        )
