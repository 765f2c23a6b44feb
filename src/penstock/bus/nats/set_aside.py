"""Events that cannot be handled: kept where an operator finds them, out of the way of the others.

They lie in the stream `penstock-set-aside`, as they were, with the reason in their headers. That stream takes at most
256 MiB; then the oldest goes.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import structlog
from nats.js.errors import NotFoundError

from ...errors import NotFound
from ...events.codec import UndecodableEvent, UnknownEventType, decode
from ...jetstream.headers import header_block
from ..aside import KeptAside, OriginalGone, SetAsideEvent
from ..base import BusUnavailable
from .failures import NATS_ERRORS
from .outbox import MESSAGE_ID, Message
from .streams import EVENTS, SET_ASIDE, SET_ASIDE_SUBJECT

if TYPE_CHECKING:
    from nats.js.api import RawStreamMsg
    from nats.js.manager import JetStreamManager

    from .outbox import Outbox

log = structlog.get_logger(__name__)

_EVENT_SUBJECT: Final = f"{SET_ASIDE_SUBJECT}.event"
_REASON_CHARACTERS: Final = 2000
_GROUP: Final = "Penstock-Group"
_REASON: Final = "Penstock-Reason"
_SEQUENCE: Final = "Penstock-Sequence"
_TYPE: Final = "Penstock-Event-Type"
_ID: Final = "Penstock-Event-Id"


class SetAside(KeptAside):
    """What was set aside, by all instances."""

    def __init__(self, outbox: Outbox, manager: JetStreamManager, *, max_bytes: int) -> None:
        """`max_bytes` is the largest message that the server takes, headers included."""
        self._outbox = outbox
        self._manager = manager
        self._max_bytes = max_bytes
        self.kept: Counter[str] = Counter()
        """How many events this process has set aside, by group."""

    async def keep(
        self, group: str, data: bytes, *, reason: str, sequence: int, event_type: str = "", event_id: str = ""
    ) -> None:
        """Keep an event. The caller may let go of the original when this returns, and not before.

        Raises:
            BusUnavailable: it may or may not be kept.
        """
        headers = header_block(
            {
                MESSAGE_ID: f"{group}-{sequence}-{sha256(data).hexdigest()[:16]}",  # a new stream counts anew
                _GROUP: group,
                _REASON: reason[:_REASON_CHARACTERS],
                _SEQUENCE: str(sequence),
                _TYPE: event_type[:_REASON_CHARACTERS],
                _ID: event_id[:_REASON_CHARACTERS],
            }
        )
        body = data if len(headers) + len(data) <= self._max_bytes else b""
        await self._outbox.publish([Message(_EVENT_SUBJECT.encode(), headers, body)])
        self.kept[group] += 1
        log.error(
            "event_set_aside",
            group=group,
            reason=reason,
            stream=EVENTS,
            sequence=sequence,
            event_type=event_type,
            event_id=event_id,
        )

    async def count(self) -> int:
        """Return how many are kept; see the port."""
        try:
            info = await self._manager.stream_info(SET_ASIDE, subjects_filter=_EVENT_SUBJECT)
            return int((info.state.subjects or {}).get(_EVENT_SUBJECT, 0))
        except NotFoundError:
            return 0
        except NATS_ERRORS as error:
            raise _unavailable(error) from error

    async def events(self, *, limit: int = 100, after: int = 0) -> list[SetAsideEvent]:
        """Return what is kept, the oldest first; see the port."""
        found: list[SetAsideEvent] = []
        try:
            with suppress(NotFoundError):
                while len(found) < limit:
                    raw = await self._manager.get_msg(SET_ASIDE, seq=after + 1, subject=_EVENT_SUBJECT, next=True)
                    found.append(_read(raw))
                    after = found[-1].number
        except NATS_ERRORS as error:
            raise _unavailable(error) from error
        return found

    async def again(self, number: int) -> SetAsideEvent:
        """Publish an event again, for everybody, and keep it no longer; see the port."""
        event = await self._get(number)
        data = event.data or await self._original(event)
        await self._outbox.publish([Message(EVENTS.encode(), b"", data)])
        await self._remove(number)
        return event

    async def discard(self, number: int) -> SetAsideEvent:
        """Keep an event no longer; see the port."""
        event = await self._get(number)
        await self._remove(number)
        return event

    async def _get(self, number: int) -> SetAsideEvent:
        try:
            raw = await self._manager.get_msg(SET_ASIDE, seq=number)
        except NotFoundError as error:
            raise _unknown(number) from error
        except NATS_ERRORS as error:
            raise _unavailable(error) from error
        if raw.subject != _EVENT_SUBJECT:
            raise _unknown(number)
        return _read(raw)

    async def _original(self, event: SetAsideEvent) -> bytes:
        """Return what was too large to be kept twice. A stream that was made anew may have another event there."""
        try:
            data = (await self._manager.get_msg(EVENTS, seq=event.sequence)).data or b""
        except NotFoundError:
            data = b""
        except NATS_ERRORS as error:
            raise _unavailable(error) from error
        if not data or _names(data)[1] != event.event_id:
            raise OriginalGone(
                f"event {event.number} ({event.event_type} {event.event_id}) was too large to be kept twice, and "
                f"message {event.sequence} of {EVENTS} is gone. Discard it, and have its sender say it again."
            )
        return data

    async def _remove(self, number: int) -> None:
        try:
            await self._manager.delete_msg(SET_ASIDE, number)
        except NATS_ERRORS as error:
            raise _unavailable(error) from error


def _read(raw: RawStreamMsg) -> SetAsideEvent:
    headers = raw.headers or {}
    at, data = raw.time, raw.data or b""
    return SetAsideEvent(
        number=raw.seq or 0,
        group=headers.get(_GROUP, ""),
        reason=headers.get(_REASON, ""),
        sequence=int(headers.get(_SEQUENCE, "0")),
        event_type=headers.get(_TYPE, ""),
        event_id=headers.get(_ID, ""),
        upload_id=_names(data)[0],
        at=at.astimezone(UTC) if isinstance(at, datetime) else None,
        data=data,
    )


def _names(data: bytes) -> tuple[str, str]:
    """Return upload and event ID of a message; empty where it cannot be read."""
    try:
        envelope = decode(data)
    except UnknownEventType:
        return "", ""
    except UndecodableEvent as error:
        return "", error.event_id
    return envelope.event.upload_id, envelope.event_id


def _unknown(number: int) -> NotFound:
    return NotFound(f"no event number {number} is set aside. `penstock postprocessing set-aside list` shows which are.")


def _unavailable(error: Exception) -> BusUnavailable:
    return BusUnavailable(f"stream {SET_ASIDE}: {str(error) or type(error).__name__}. Try again.")
