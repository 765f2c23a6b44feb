"""The W3C header `traceparent`, which says in what trace, and in what span of it, something was sent.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

SAMPLED: Final = 1
"""The flag of a span that whoever sent it has recorded."""

# Not version ff, which is forbidden, and not a version 00 that is longer than it may be; no ID of zeros.
_FORM: Final = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.DOTALL
)
_LENGTH: Final = 55


class Place(NamedTuple):
    """A span in a trace."""

    trace_id: str
    """32 hexadecimal digits, not all zero."""
    span_id: str
    """16 hexadecimal digits, not all zero."""
    flags: int


def parse(text: str) -> Place | None:
    """Return what a `traceparent` says; None if it is none, which is then as good as not there.

    Of later versions than 00, what is known of 00 is read, as W3C asks for.
    """
    found = _FORM.fullmatch(text)
    return None if found is None else Place(found[1], found[2], int(found[3], 16))


def trace_id_of(text: str) -> str:
    """Return the trace that a `traceparent` is about; empty if it is none."""
    return text[3:35] if _FORM.fullmatch(text) else ""


def checked(text: str) -> str:
    """Return a stranger's `traceparent` as one of version 00; empty if it is none."""
    return f"00{text[2:_LENGTH]}" if _FORM.fullmatch(text) else ""


def write(trace_id: str, span_id: str, *, flags: int = 0) -> str:
    """Return the `traceparent` of a span; of the flags, the one that is known."""
    return f"00-{trace_id}-{span_id}-{flags & SAMPLED:02x}"
