"""What a tus 1.0.0 client says, and what it hears: headers only, no I/O.

Source: https://tus.io/protocols/resumable-upload
"""

from __future__ import annotations

import base64
import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = {"Tus-Resumable": "1.0.0"}
_NUMBER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_AGAIN: Final = frozenset({408, 409, 423, 425, 429, 500, 502, 503, 504})
_GONE: Final = frozenset({404, 410})


class Meaning(Enum):
    """What an answer's status means for what to do next."""

    DONE = auto()
    """It worked."""
    AGAIN = auto()
    """It may work later: ask where the server stands, and go on from there."""
    GONE = auto()
    """There is no such upload any more."""
    REFUSED = auto()
    """It will never work like this; the answer says why."""


def meaning(status: int) -> Meaning:
    """Tell what to do after an answer.

    A full disk (507) is a refusal: it does not empty itself while somebody waits, and what arrived is kept.
    """
    if 200 <= status < 300:
        return Meaning.DONE
    if status in _GONE:
        return Meaning.GONE
    return Meaning.AGAIN if status in _AGAIN else Meaning.REFUSED


def creation(size_bytes: int, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that begin an upload; pairs without a value are left out."""
    pairs = (f"{key} {_encoded(value)}" for key, value in metadata.items() if value)
    return {**VERSION, "Upload-Length": str(size_bytes), "Upload-Metadata": ",".join(pairs), "Content-Length": "0"}


def continuation(offset: int, length_bytes: int) -> dict[str, str]:
    """Return the headers that send `length_bytes` from `offset` on."""
    return {
        **VERSION,
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(length_bytes),
    }


def offset_in(headers: Mapping[str, str]) -> int | None:
    """Return the offset that an answer tells; None if it tells none that we understand."""
    text = headers.get("Upload-Offset", "")
    return int(text) if _NUMBER.fullmatch(text) else None


def pause_in(headers: Mapping[str, str]) -> float:
    """Return the seconds that an answer asks to wait; 0 if it does not, or says it as a date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After", "")
    return float(text) if _NUMBER.fullmatch(text) else 0.0


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode("utf-8", "surrogateescape")).decode("ascii")
