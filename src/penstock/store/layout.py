"""The JSON of a record: first what the Go services write, in their order and types, then what is ours.

Go readers pass over keys they do not know, and drop them when they write a record back; so a record without ours is
complete, and is read as one whose timers were kept in a Go instance's memory. The keys, one by one:
docs/reference/stores.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from operator import attrgetter
from typing import Final

import msgspec

from ..core.progress import Progress
from ..errors import PenstockError
from ..events.gojson import Decoder, dumps

_DECODER: Final = Decoder(Progress)
_TIMES: Final = (
    "started_at",
    "step_started_at",
    "heard_at",
    "resume_at",
    "deadline_at",
    "announce_at",
    "updated_at",
    "sent_at",
)
_times_of: Final = attrgetter(*_TIMES)


class BadRecord(PenstockError):
    """What is saved under an upload's key is not a record."""

    code = "bad-record"


def encode(progress: Progress) -> bytes:
    """Return a record's JSON; its first twelve keys are byte for byte as the Go services write them.

    Raises:
        UnicodeEncodeError: a string contains a lone surrogate.
    """
    return dumps(progress)


def decode(data: bytes) -> Progress:
    """Read a record, whoever wrote it: keys in any order and case, unknown ones skipped, missing ones at zero.

    Times come out in UTC, rounded to microseconds. Go's zero time (the year 1) is None.

    Raises:
        BadRecord: it is no JSON object, a value has a type that Go would refuse, or it does not say which upload it
            is about.
    """
    try:
        progress = _DECODER.decode(data)
        times = {} if all(map(_is_usual, _times_of(progress))) else _times_in_utc(progress)
    except (ValueError, OverflowError) as error:
        raise BadRecord(f"not a record of postprocessing: {error}") from error
    if not progress.upload_id:
        raise BadRecord("not a record of postprocessing: it has no ID")
    return msgspec.structs.replace(progress, **times) if times else progress


def _is_usual(at: datetime | None) -> bool:
    """Tell whether a time has the form that we write."""
    return at is None or (at.tzinfo is UTC and at.year != 1)


def _times_in_utc(progress: Progress) -> dict[str, datetime | None]:
    """Return what is to be put in the place of times of another form."""
    named = zip(_TIMES, _times_of(progress), strict=True)
    return {name: None if at is None else _in_utc(at) for name, at in named if not _is_usual(at)}


def _in_utc(at: datetime) -> datetime | None:
    if at.year == 1:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
