"""What Go services have left on the stream: looked at, and made ours (wire reference, section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from nats.js.api import RetentionPolicy, StorageType
from nats.js.errors import NotFoundError

from ..base import BusUnavailable
from ..inheritance import Inheritance, PlaceFound, StreamFound
from .consumers import durable_names, progress_of
from .failures import NATS_ERRORS
from .streams import EVENTS

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo, StreamConfig
    from nats.js.manager import JetStreamManager

    from .consumers import Consumers
    from .watch import Watch

log = structlog.get_logger(__name__)

_UNLIMITED: Final = (None, 0, -1)


class NatsInheritance(Inheritance):
    """Looks at the stream of events and the consumers of a group."""

    def __init__(self, manager: JetStreamManager, consumers: Consumers, watch: Watch) -> None:
        self._manager = manager
        self._consumers = consumers
        self._watch = watch

    async def stream(self) -> StreamFound:
        """Look at the stream; see the port."""
        try:
            info = await self._manager.stream_info(EVENTS)
        except NATS_ERRORS as error:
            raise _unavailable(error) from error
        config = info.config
        return StreamFound(
            EVENTS, self._watch.has_made, info.state.messages, _differences(config), tuple(_trouble(config))
        )

    async def places(self, group: str) -> list[PlaceFound]:
        """Look for the consumers of a group; see the port."""
        try:
            return [_place(info) for info in await self._found(group)]
        except NATS_ERRORS as error:
            raise _unavailable(error) from error

    async def replace(self, group: str) -> PlaceFound | None:
        """Put a consumer that is pulled from in the place of the one that pushes; see the port."""
        try:
            return await self._replace(group)
        except NATS_ERRORS as error:
            raise _unavailable(error) from error

    async def _replace(self, group: str) -> PlaceFound | None:
        found = await self._found(group)
        pushing = next((info for info in found if info.config.deliver_subject), None)
        pulled = next((info for info in found if not info.config.deliver_subject), None)
        if pushing is None:
            return None
        if pulled is not None and progress_of(pushing)[0] > progress_of(pulled)[0]:
            # Left behind before the service went back to pushing: it would begin in the past.
            await self._remove(pulled)
            pulled = None
        if pulled is None:
            last = (await self._manager.stream_info(EVENTS)).state.last_seq
            pulled = await self._consumers.make_at(durable_names(group)[1], first_unhandled(pushing, last))
        await self._remove(pushing)
        log.info("consumer_replaced", consumer=pushing.name, by=pulled.name)
        return _place(pulled)

    async def _found(self, group: str) -> list[ConsumerInfo]:
        infos = [await self._consumers.info(name) for name in durable_names(group)]
        return [info for info in infos if info is not None]

    async def _remove(self, info: ConsumerInfo) -> None:
        try:
            await self._manager.delete_consumer(EVENTS, info.name)
        except NotFoundError:
            log.info("consumer_gone_already", consumer=info.name)


def first_unhandled(info: ConsumerInfo, last: int) -> int:
    """Return the number of the first event that a consumer has not handled, or one before it.

    `last` is the stream's last one, asked for after `info`. Of a consumer that began in the middle of the stream the
    server tells a floor of 0 until the first event is acknowledged, which would be everything that ever was.
    """
    floor = info.ack_floor.stream_seq if info.ack_floor else 0
    if floor:
        return floor + 1
    delivered = info.delivered
    if delivered is None or not delivered.consumer_seq:
        return max(1, last - (info.num_pending or 0) + 1)
    return max(1, delivered.stream_seq - delivered.consumer_seq + 1)  # repeats only make it earlier


def _place(info: ConsumerInfo) -> PlaceFound:
    return PlaceFound(
        name=info.name,
        pushes=bool(info.config.deliver_subject),
        connected=bool(info.push_bound or info.num_waiting),
        waiting=(info.num_pending or 0) + (info.num_ack_pending or 0),
        handled_up_to=info.ack_floor.stream_seq if info.ack_floor else 0,
    )


def _differences(config: StreamConfig) -> tuple[str, ...]:
    """Tell what is unlike the stream that the Go services of our reference make."""
    told = []
    if config.storage == StorageType.MEMORY:
        told.append("it is in memory, so a restart of NATS loses what is on its way")
    for name, unit in (("max_age", " s"), ("max_msgs", " events"), ("max_bytes", " bytes")):
        limit = getattr(config, name)
        if limit not in _UNLIMITED:
            told.append(f"it keeps {name}={limit:g}{unit}")
    if (config.num_replicas or 1) > 1:
        told.append(f"it has {config.num_replicas} replicas")
    return tuple(told)


def _trouble(config: StreamConfig) -> list[str]:
    told = []
    if EVENTS not in (config.subjects or []):
        told.append(f"it does not take messages to {EVENTS}")
    if config.retention not in (None, RetentionPolicy.LIMITS):
        told.append(f"its retention is {config.retention}, which several groups cannot share")
    if config.no_ack:
        told.append("it confirms no message (no_ack)")
    return told


def _unavailable(error: Exception) -> BusUnavailable:
    return BusUnavailable(f"stream {EVENTS}: {str(error) or type(error).__name__}. Try again.")
