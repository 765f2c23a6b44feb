"""Envelopes to bytes and back, byte-compatible with the Go services.

The message is a JSON object with the keys `Timestamp`, `Metadata`, `ID`, `Topic` and `Payload`; the payload
is the JSON of the event, in base64. Whatever a Go service accepts is accepted, and what it refuses is
refused, with a reason.

A message that cannot be used is one of two things, and callers treat them differently: an event of a type
that we do not know (`UnknownEventType`: somebody else's, the bus carries those of all services), or one of
ours that is broken (`UndecodableEvent`: somebody should know).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import PenstockError
from . import lenient
from .gojson import Decoder, dumps
from .gotime import ZERO_TIME, format_time, normalize_time
from .types import (
    EVENT_TYPES,
    VIRUSSCAN,
    Envelope,
    Event,
    PostprocessingFinished,
    PostprocessingStepFinished,
    VirusscanResult,
)

if TYPE_CHECKING:
    from datetime import datetime

TOPIC: Final = "main-queue"
"""The one topic that all events have."""

_PREFIX: Final = "events."


class UnknownEventType(PenstockError):
    """The message carries an event of a type that we do not know.

    That is normal: acknowledge it and go on.
    """

    code = "unknown-event-type"

    def __init__(self, event_type: str) -> None:
        """`event_type` is what the message says, prefix included; empty when it says nothing."""
        super().__init__(f"event type {event_type[:64]!r}: not one of ours")
        self.event_type = event_type


class UndecodableEvent(PenstockError):
    """The message is broken, or its payload does not fit its event type. It will never become readable."""

    code = "undecodable-event"

    def __init__(self, reason: str, *, where: str, event_type: str = "", event_id: str = "") -> None:
        """`where` is `envelope` or `payload`; type (without prefix) and ID are empty where unreadable."""
        named = f"{event_type or 'message'} {event_id}".rstrip()
        super().__init__(f"{named}: {where} is not readable: {reason}. Its sender has to be corrected.")
        self.reason = reason
        self.where = where
        self.event_type = event_type
        self.event_id = event_id


class _WireMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata in the order in which it is written."""

    causationid: str | msgspec.UnsetType = msgspec.UNSET
    eventid: str
    eventtype: str
    initiatorid: str
    traceparent: str


class _WireOut(msgspec.Struct, frozen=True, rename="pascal"):
    """The message in the order in which it is written."""

    timestamp: str
    metadata: _WireMetadata
    message_id: str = msgspec.field(name="ID")
    topic: str
    payload: bytes


class _WireIn(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """The message as it is read; its metadata may have any keys."""

    timestamp: str = ZERO_TIME
    metadata: dict[str, str] = {}
    message_id: str = msgspec.field(name="ID", default="")
    topic: str = ""
    payload: bytes = b""


_WIRE: Final = Decoder(_WireIn)
_WIRE_NAMES: Final[dict[type[Any], str]] = {kind: _PREFIX + name for name, kind in EVENT_TYPES.items()}
_EVENTS: Final[dict[str, type[Event]]] = {name: kind for kind, name in _WIRE_NAMES.items()}
_STRICT: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(kind) for name, kind in _EVENTS.items()
}
_LENIENT: Final[dict[type[Any], lenient.Reader[Any]]] = {kind: lenient.Reader(kind) for kind in _WIRE_NAMES}
_LENIENT_SCAN: Final = lenient.Reader(VirusscanResult)


def seal(
    event: Event,
    *,
    event_id: str,
    id: str,
    timestamp: datetime,
    initiator_id: str = "",
    trace_parent: str = "",
    causation_id: str = "",
) -> Envelope:
    """Put an event into an envelope. IDs and time come from the caller: nothing here looks at a clock.

    Raises:
        ValueError: `timestamp` has no zone.
    """
    return Envelope(
        event=event,
        event_id=event_id,
        initiator_id=initiator_id,
        trace_parent=trace_parent,
        causation_id=causation_id,
        timestamp=format_time(timestamp),
        id=id,
    )


def encode(envelope: Envelope) -> bytes:
    """The message that a Go service would send for this envelope.

    Raises:
        UnicodeEncodeError: a string contains a lone surrogate.
    """
    metadata = _WireMetadata(
        causationid=envelope.causation_id or msgspec.UNSET,
        eventid=envelope.event_id,
        eventtype=_WIRE_NAMES[type(envelope.event)],
        initiatorid=envelope.initiator_id,
        traceparent=envelope.trace_parent,
    )
    return dumps(_WireOut(envelope.timestamp, metadata, envelope.id, TOPIC, dumps(envelope.event)))


def decode(data: bytes) -> Envelope:
    """Read a message.

    A `PostprocessingFinished` whose payload names a `FinishedStep` is a step's answer, as older manuals
    have it, and is read as a `PostprocessingStepFinished`.

    Raises:
        UnknownEventType: an event of a type that we do not know; its payload was not looked at.
        UndecodableEvent: broken; Go services drop it too.
    """
    try:
        wire = _WIRE.decode(data)
    except ValueError as error:
        raise UndecodableEvent(str(error), where="envelope") from error
    metadata = wire.metadata
    name = metadata.get("eventtype", "")
    kind = _EVENTS.get(name)
    if kind is None:
        raise UnknownEventType(name)
    event_id = metadata.get("eventid", "")
    try:
        timestamp = normalize_time(wire.timestamp)
    except ValueError as error:
        raise _undecodable(error, "envelope", kind, event_id) from error
    try:
        event = _decode_payload(name, kind, wire.payload)
    except ValueError as error:
        raise _undecodable(error, "payload", _meant(kind, wire.payload), event_id) from error
    return Envelope(
        event=event,
        event_id=event_id,
        initiator_id=metadata.get("initiatorid", ""),
        trace_parent=metadata.get("traceparent", ""),
        causation_id=metadata.get("causationid", ""),
        timestamp=timestamp,
        id=wire.message_id,
    )


def _meant(kind: type[Event], payload: bytes) -> type[Event]:
    """What a broken event is: a step's answer under the older name is missed by whoever awaits answers."""
    with suppress(ValueError):
        if kind is PostprocessingFinished and _is_step_answer(lenient.parse(payload)):
            return PostprocessingStepFinished
    return kind


def _undecodable(error: ValueError, where: str, kind: type[Event], event_id: str) -> UndecodableEvent:
    return UndecodableEvent(str(error), where=where, event_type=kind.__name__, event_id=event_id)


def _decode_payload(name: str, kind: type[Event], payload: bytes) -> Event:
    """The event in a payload: the quick way, or else the exact one."""
    try:
        event: Event = _STRICT[name].decode(payload)
        if isinstance(event, PostprocessingStepFinished) and _has_scan(event):
            return _with_scan(event, msgspec.convert(event.result, VirusscanResult))
        return event
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_unusual(kind, payload)


def _decode_unusual(kind: type[Event], payload: bytes) -> Event:
    tree = lenient.parse(payload)
    if kind is PostprocessingFinished and _is_step_answer(tree):
        kind = PostprocessingStepFinished
    event: Event = _LENIENT[kind].read(tree)
    if isinstance(event, PostprocessingStepFinished) and _has_scan(event):
        return _with_scan(event, _LENIENT_SCAN.read(tree.last("Result")))
    return event


def _is_step_answer(tree: lenient.Tree) -> bool:
    """Whether a PostprocessingFinished is a step's answer; the coordinator's own has no such key."""
    return isinstance(tree, lenient.JsonObject) and tree.last("FinishedStep") not in (None, "")


def _has_scan(event: PostprocessingStepFinished) -> bool:
    return event.finished_step == VIRUSSCAN and event.result is not None


def _with_scan(event: PostprocessingStepFinished, scan: VirusscanResult) -> PostprocessingStepFinished:
    """The event with its result as what it is; refuses a time of scanning that Go could not read."""
    scandate = normalize_time(scan.scandate)
    if scandate != scan.scandate:
        scan = msgspec.structs.replace(scan, scandate=scandate)
    return msgspec.structs.replace(event, result=scan)
