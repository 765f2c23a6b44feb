"""The streams: the one of the Go services, the one for what cannot be handled, and the one for notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from ...events.codec import TOPIC

if TYPE_CHECKING:
    from nats.js.api import StreamInfo
    from nats.js.manager import JetStreamManager

log = structlog.get_logger(__name__)

EVENTS: Final = TOPIC
"""Name and only subject of the stream that carries the events of all services."""
SET_ASIDE: Final = "penstock-set-aside"
"""Name of the stream that keeps what cannot be handled."""
SET_ASIDE_SUBJECT: Final = "penstock.set-aside"
"""Its messages have this subject, followed by `event`, or by `trial` and more (see `trials`)."""
HELD: Final = "penstock-held"
"""Name of the stream that keeps notes (see `notes`)."""
HELD_SUBJECT: Final = "penstock.held"
"""Its messages have this subject, followed by what is noted down."""
_HELD_SECONDS: Final = 3 * 24 * 3600.0
_SECONDS_KNOWN: Final = 120.0
"""How long repeats of an ID are recognised; the server's own default, as in the streams of the Go services."""
_SET_ASIDE_BYTES: Final = 256 * 1024 * 1024
"""What is set aside may not fill the disk: of more than this, the oldest goes. Its log line stays."""

_EVENTS: Final = StreamConfig(
    name=EVENTS,
    subjects=[TOPIC],
    retention=RetentionPolicy.LIMITS,
    storage=StorageType.FILE,
    discard=DiscardPolicy.OLD,
    num_replicas=1,
    max_consumers=-1,
    max_msgs=-1,
    max_bytes=-1,
    max_age=0,
    duplicate_window=_SECONDS_KNOWN,
    allow_direct=False,
)
"""As the Go services make it."""
_FOR_SET_ASIDE: Final = StreamConfig(
    name=SET_ASIDE,
    description="Events that Penstock could not handle, with the reason in their headers",
    subjects=[f"{SET_ASIDE_SUBJECT}.>"],
    retention=RetentionPolicy.LIMITS,
    storage=StorageType.FILE,
    discard=DiscardPolicy.OLD,
    max_bytes=_SET_ASIDE_BYTES,
    duplicate_window=_SECONDS_KNOWN,
)
_FOR_HELD: Final = StreamConfig(
    name=HELD,
    description="Uploads that wait for a virus scanner; Penstock removes what goes on",
    subjects=[f"{HELD_SUBJECT}.>"],
    retention=RetentionPolicy.LIMITS,
    storage=StorageType.FILE,
    discard=DiscardPolicy.OLD,
    max_msgs_per_subject=1,
    max_age=_HELD_SECONDS,
)


async def make_events_stream(manager: JetStreamManager) -> tuple[StreamInfo, bool]:
    """Make the stream of events if there is none; one that is there stays as it is.

    Returns:
        What it is like, and whether we have made it.

    Raises:
        nats.errors.Error: there is no answer, or it cannot be made.
    """
    return await _make(manager, EVENTS, _EVENTS)


async def make_set_aside_stream(manager: JetStreamManager) -> None:
    """Make the stream for what cannot be handled, if there is none.

    Raises:
        nats.errors.Error: there is no answer, or it cannot be made.
    """
    await _make(manager, SET_ASIDE, _FOR_SET_ASIDE)


async def make_held_stream(manager: JetStreamManager) -> None:
    """Make the stream for notes, if there is none.

    Raises:
        nats.errors.Error: there is no answer, or it cannot be made.
    """
    await _make(manager, HELD, _FOR_HELD)


async def _make(manager: JetStreamManager, name: str, config: StreamConfig) -> tuple[StreamInfo, bool]:
    try:
        return await manager.stream_info(name), False
    except NotFoundError:
        pass
    try:
        made = await manager.add_stream(config)
    except BadRequestError:
        return await manager.stream_info(name), False  # somebody else has made it at the same moment, in another way
    log.info("stream_made", stream=name)
    return made, True
