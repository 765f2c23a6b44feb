"""What JetStream writes around messages, and what it is told about them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final, NamedTuple

from ...jetstream.headers import NO_RESPONDERS, status_of

CONTROL: Final = b"100"
"""A sign of life, or a question whether we keep up."""

ACK: Final = b"+ACK"
IN_PROGRESS: Final = b"+WPI"
TERMINATE: Final = b"+TERM"

AT_ONCE: Final = timedelta()
BACK_FOR: Final = timedelta(seconds=1)
"""So long a message is left to other instances that could not be handled in this one now."""

_ACK_SUBJECT_TOKENS: Final = 9


class Delivery(NamedTuple):
    """Where a delivered message stands in its stream; read from the subject that answers about it go to."""

    reply: bytes
    sequence: int
    """Of the message in the stream."""
    deliveries: int
    """How often it was delivered, this time included."""
    pending: int
    """How many messages the consumer has not delivered yet."""
    at_ns: int
    """When the server has stored the message, in nanoseconds since 1970."""


def delivery_of(reply: bytes) -> Delivery | None:
    """Read the answer subject of a message; None when it does not come from a consumer.

    There are two forms: `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<n>.<time>.<pending>`, and a longer one
    with domain and account in front of the stream.
    """
    tokens = reply.split(b".")
    at = 4 if len(tokens) == _ACK_SUBJECT_TOKENS else 6
    if len(tokens) < at + 5 or tokens[1] != b"ACK":
        return None
    try:
        return Delivery(reply, int(tokens[at + 1]), int(tokens[at]), int(tokens[at + 4]), int(tokens[at + 3]))
    except ValueError:
        return None


def again_after(pause: timedelta) -> bytes:
    """Return the answer that has a message delivered again, to anybody, after `pause`."""
    nanoseconds = pause // timedelta(microseconds=1) * 1000
    return b'-NAK {"delay": %d}' % nanoseconds if nanoseconds > 0 else b"-NAK"


class PublishAnswer(NamedTuple):
    """What the server says to a published message."""

    error: str
    """Empty when it is stored."""
    no_stream: bool = False
    repeats: int = 0
    """The number of an earlier message with the same ID, in whose place this one was not stored; 0 for none."""


def answer_of(headers: bytes, data: bytes) -> PublishAnswer:
    """Read the answer to a published message."""
    status = status_of(headers)
    if status:
        return PublishAnswer("no stream takes it", no_stream=status == NO_RESPONDERS)
    try:
        answer = json.loads(data) if b'"error"' in data or b'"duplicate"' in data else {}
        error = answer.get("error")
        repeats = int(answer.get("seq") or 0) if answer.get("duplicate") else 0
        return PublishAnswer(str(error.get("description") or error) if error else "", repeats=repeats)
    except (ValueError, AttributeError, TypeError):
        return PublishAnswer(f"answer not understood: {data[:200]!r}")
