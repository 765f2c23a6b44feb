"""Where things are in etcd.

The Go services write a record twice, under its ID and under its ID read backwards, and both times within the envelope
of their library. What is ours lies beside that, under a prefix that none of their lists looks at.

A key of ours is valid as long as it was last changed by the same transaction as its record: a Go service that writes or
removes a record leaves our keys as they are, and thereby makes them invalid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ...events.gojson import dumps
from .. import layout

if TYPE_CHECKING:
    from ...core.progress import Progress

RECORDS: Final = b"//.prefix/"
"""Before an upload's ID: its record. Database and table do not count, as with the Go services."""
_BACKWARDS: Final = b"//.suffix/"
"""Before an upload's ID in reverse: its record once more."""
STEPS: Final = b"/penstock/step/"
"""Before an upload's ID: the record's current step."""
TIMERS: Final = b"/penstock/due/"
"""Before the time at which a record is due, and its upload's ID: nothing; the key says it all."""
ANSWERS: Final = b"/penstock/answered/"
"""Before a step's name: when it was last answered, in microseconds since 1970."""

_DIGITS: Final = 20
"""Of a time in microseconds, so that the order of the keys is that of the times. The year 9999 has 18."""


class _Envelope(msgspec.Struct, frozen=True):
    """What the library of the Go services writes around a value. Other keys may follow; they mean nothing here."""

    metadata: Any = None
    key: str = ""
    value: bytes = b""


_DECODER: Final = msgspec.json.Decoder(_Envelope)


def record_key(upload_id: str) -> bytes:
    """Return where a record is."""
    return RECORDS + upload_id.encode()


def backwards_key(upload_id: str) -> bytes:
    """Return where its copy is."""
    return _BACKWARDS + upload_id[::-1].encode()


def step_key(upload_id: str) -> bytes:
    """Return where its current step is noted."""
    return STEPS + upload_id.encode()


def timer_key(microseconds: int, upload_id: str) -> bytes:
    """Return the key that says when a record is due."""
    return due_before(microseconds) + b"/" + upload_id.encode()


def due_before(microseconds: int) -> bytes:
    """Return what comes after the keys of all timers that end before then, and before all others."""
    return TIMERS + str(max(0, microseconds)).zfill(_DIGITS).encode()


def upload_of_timer(key: bytes) -> bytes:
    """Return the upload ID within the key of a timer."""
    return key[len(TIMERS) + _DIGITS + 1 :]


def answer_key(step: str) -> bytes:
    """Return where it is noted when a step was last answered."""
    return ANSWERS + step.encode()


def after_all(prefix: bytes) -> bytes:
    """Return what comes after every key that begins with `prefix`, which ends with no byte 255."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def after(key: bytes) -> bytes:
    """Return the next possible key."""
    return key + b"\0"


def wrap(progress: Progress) -> bytes:
    """Return what is written under a record's two keys."""
    return dumps(_Envelope(None, progress.upload_id, layout.encode(progress)))


def unwrap(key: bytes, value: bytes) -> Progress:
    """Return the record that is saved under `key`, one of `RECORDS`.

    Raises:
        layout.BadRecord: there is something else.
    """
    try:
        progress = layout.decode(_DECODER.decode(value).value)
    except ValueError as error:
        raise layout.BadRecord(f"not a record of postprocessing: {error}") from error
    if progress.upload_id.encode() != key[len(RECORDS) :]:
        raise layout.BadRecord(f"not the record of this upload: it is about {progress.upload_id}")
    return progress
