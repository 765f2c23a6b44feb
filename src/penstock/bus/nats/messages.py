"""What JetStream writes around messages, and what it is told about them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final, NamedTuple

NO_RESPONDERS: Final = b"503"
"""Nobody takes messages to that subject: the stream or consumer does not exist, or JetStream is not ready yet."""
CONTROL: Final = b"100"
"""A sign of life, or a question whether we keep up."""

ACK: Final = b"+ACK"
IN_PROGRESS: Final = b"+WPI"
TERMINATE: Final = b"+TERM"

_ACK_SUBJECT_TOKENS: Final = 9
_PREAMBLE: Final = b"NATS/1.0"


class Delivery(NamedTuple):
    """Where a delivered message stands in its stream; read from the subject that answers about it go to."""

    reply: bytes
    sequence: int
    """Of the message in the stream."""
    deliveries: int
    """How often it was delivered, this time included."""
    pending: int
    """How many messages the consumer has not delivered yet."""


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
        return Delivery(reply, int(tokens[at + 1]), int(tokens[at]), int(tokens[at + 4]))
    except ValueError:
        return None


def again_after(pause: timedelta) -> bytes:
    """Return the answer that has a message delivered again, to anybody, after `pause`."""
    nanoseconds = pause // timedelta(microseconds=1) * 1000
    return b'-NAK {"delay": %d}' % nanoseconds if nanoseconds > 0 else b"-NAK"


def status_of(headers: bytes) -> bytes:
    """Return the three digits of a status message; empty when it is none."""
    return headers[9:12] if headers[8:9] == b" " else b""


def header_of(headers: bytes, name: bytes) -> bytes:
    """Return the value of a header; empty when there is none."""
    start = headers.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    return headers[start : headers.find(b"\r\n", start)].strip()


def header_block(headers: dict[str, str]) -> bytes:
    """Write headers. What would end one early is replaced, and an empty value leaves its header out."""
    lines = [f"{name}: {_one_line(value)}".encode() for name, value in headers.items() if value]
    return b"\r\n".join((_PREAMBLE, *lines, b"", b"")) if lines else b""


def _one_line(value: str) -> str:
    return value if value.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in value)


class PublishAnswer(NamedTuple):
    """What the server says to a published message."""

    error: str
    """Empty when it is stored."""
    no_stream: bool = False


def answer_of(headers: bytes, data: bytes) -> PublishAnswer:
    """Read the answer to a published message."""
    status = status_of(headers)
    if status:
        return PublishAnswer("no stream takes it", no_stream=status == NO_RESPONDERS)
    try:
        answer = json.loads(data) if b'"error"' in data else {}
        error = answer.get("error")
        return PublishAnswer(str(error.get("description") or error) if error else "")
    except (ValueError, AttributeError):
        return PublishAnswer(f"answer not understood: {data[:200]!r}")
