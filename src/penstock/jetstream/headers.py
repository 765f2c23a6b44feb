"""The header block of a NATS message, read and written as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_RESPONDERS: Final = b"503"
"""Nobody takes messages to that subject: the stream or consumer does not exist, or JetStream is not ready yet."""
_PREAMBLE: Final = b"NATS/1.0"


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


def header_block(headers: Mapping[str, str]) -> bytes:
    """Write headers. What would end one early is replaced, and an empty value leaves its header out."""
    lines = [f"{name}: {_one_line(value)}".encode() for name, value in headers.items() if value]
    return b"\r\n".join((_PREAMBLE, *lines, b"", b"")) if lines else b""


def _one_line(value: str) -> str:
    return value if value.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in value)
