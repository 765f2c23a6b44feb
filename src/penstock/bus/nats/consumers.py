"""Finds the consumer of a group, or makes it. Decision 0008 says which, and from where it begins."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, ReplayPolicy
from nats.js.errors import APIError, NotFoundError

from .history import describe, past_in
from .past import read_past
from .streams import EVENTS, make_events_stream

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from nats.js.api import ConsumerInfo
    from nats.js.manager import JetStreamManager

    from ...clock import Clock
    from ...jetstream import NatsClient
    from .messages import Delivery

log = structlog.get_logger(__name__)

LOOK_BACK: Final = timedelta(days=7)
"""How far a new consumer looks into the past. The download address in an older event has expired long since, and so
has the upload; newer Go services keep no older events either."""
_SKEW_SECONDS: Final = 5.0
"""The clocks of the servers of a cluster may differ by this much."""
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer as it was found."""

    name: str
    created: datetime
    deliver_subject: str
    """Where the server sends messages to; empty when it waits to be asked for them."""
    deliver_group: str
    ack_wait: timedelta
    past: int
    """Up to this sequence, only what is in `open` is handled."""
    open: frozenset[int]

    def passes_over(self, delivery: Delivery) -> bool:
        """Tell whether a message is about an upload that had ended before there was a consumer.

        One that was stored after this consumer was made is not, whatever its sequence: it comes from a stream that was
        put in the place of ours, through a consumer of the same name.
        """
        if delivery.sequence > self.past or delivery.sequence in self.open:
            return False
        return delivery.at_ns <= (self.created.timestamp() + _SKEW_SECONDS) * 1e9

    def is_same(self, info: ConsumerInfo) -> bool:
        """Tell whether this consumer is the one that was found, and not another one of the same name."""
        return (self.created, self.deliver_subject) == (info.created, info.config.deliver_subject or "")


def durable_names(group: str) -> tuple[str, str]:
    """Return what the consumer of a group is called when it pushes, and when it is pulled from."""
    name = group
    if _NO_NAME.search(name):
        name = f"{_NO_NAME.sub('_', name)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name, f"{name}-pull"


class Consumers:
    """The consumers on the stream of events."""

    def __init__(
        self,
        client: NatsClient,
        manager: JetStreamManager,
        clock: Clock,
        *,
        ack_wait: timedelta,
        max_ack_pending: int,
    ) -> None:
        self._client = client
        self._manager = manager
        self._clock = clock
        self._ack_wait = ack_wait
        self._max_ack_pending = max_ack_pending

    async def info(self, name: str) -> ConsumerInfo | None:
        """Return what the server knows about a consumer; None when it does not exist.

        Raises:
            nats.errors.Error: there is no answer.
        """
        try:
            info: ConsumerInfo = await self._manager.consumer_info(EVENTS, name)
        except NotFoundError:
            return None
        return info

    async def find_or_make(self, group: str, types: AbstractSet[type]) -> Consumer:
        """Return the consumer of a group, made if there is none, and the stream with it.

        Raises:
            nats.errors.Error: there is no answer, or it cannot be made.
        """
        await make_events_stream(self._manager)
        pushing, pulling = durable_names(group)
        found = [info for name in (pushing, pulling) if (info := await self.info(name)) is not None]
        if found:
            return await self._as_found(max(found, key=progress_of), types)
        return await self._make(pulling, types)

    async def _as_found(self, info: ConsumerInfo, types: AbstractSet[type]) -> Consumer:
        past = past_in(info.config.description)
        begun = info.ack_floor.stream_seq if info.ack_floor else 0
        if begun >= past:
            return self._consumer(info, past, frozenset())
        # Whoever made it has not got through the past yet.
        first = max(begun + 1, info.config.opt_start_seq or 1)
        still_open, _ = await read_past(self._client, self._manager, types, first=first, last=past)
        return self._consumer(info, past, still_open)

    def _consumer(self, info: ConsumerInfo, past: int, still_open: frozenset[int]) -> Consumer:
        config = info.config
        if (config.max_deliver or 0) > 0:
            hint = "an event that could not be handled so often, as while the store is away, is lost: set it to -1"
            log.warning("consumer_drops_events", consumer=info.name, max_deliver=config.max_deliver, hint=hint)
        return Consumer(
            name=info.name,
            created=info.created,
            deliver_subject=config.deliver_subject or "",
            deliver_group=config.deliver_group or "",
            ack_wait=timedelta(seconds=config.ack_wait or self._ack_wait.total_seconds()),
            past=past,
            open=still_open,
        )

    async def _make(self, name: str, types: AbstractSet[type]) -> Consumer:
        since = self._clock.now() - LOOK_BACK
        still_open, last = await read_past(self._client, self._manager, types, first=since, last=None)
        start = min(still_open, default=last + 1)
        try:
            info = await self.make_at(name, start, description=describe(last))
        except APIError:
            # Another instance was faster, and has begun a little earlier or later.
            other = await self.info(name)
            if other is None:
                raise
            return await self._as_found(other, types)
        log.info("consumer_made", consumer=name, first_sequence=start, open_events_of_the_past=len(still_open))
        return self._consumer(info, last, still_open)

    async def make_at(self, name: str, start: int, *, description: str | None = None) -> ConsumerInfo:
        """Make a consumer that is pulled from and begins with event number `start`.

        Raises:
            nats.errors.Error: there is no answer, or it cannot be made, such as because there is another one.
        """
        config = ConsumerConfig(
            durable_name=name,
            description=description,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait.total_seconds(),
            max_deliver=-1,
            max_ack_pending=self._max_ack_pending,
            filter_subject=EVENTS,
            replay_policy=ReplayPolicy.INSTANT,
        )
        return await self._manager.add_consumer(EVENTS, config)


def progress_of(info: ConsumerInfo) -> tuple[int, bool, int, bool]:
    """Return how far a consumer has got: the larger, the further.

    Of two for one group, one was left behind by an upgrade or a roll-back, and would begin in the past. (What it has
    acknowledged does not tell: the server shows 0 for a new one that begins at the end.)
    """
    left = (info.num_pending or 0) + (info.num_ack_pending or 0)
    in_use = bool(info.push_bound or info.num_waiting)
    return -left, in_use, info.ack_floor.stream_seq if info.ack_floor else 0, bool(info.config.deliver_subject)
