"""Event types and their codec, byte-compatible with the Go services."""

from __future__ import annotations

from .codec import UndecodableEvent, UnknownEventType, decode, encode, seal
from .types import Envelope, Event, Outcome

__all__ = [
    "Envelope",
    "Event",
    "Outcome",
    "UndecodableEvent",
    "UnknownEventType",
    "decode",
    "encode",
    "seal",
]
