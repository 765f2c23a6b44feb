"""The JSON of a record: first what the Go services write, in their order and types, then what is ours.

Go readers pass over keys they do not know, and drop them when they write a record back; so a record without ours is
complete, and is read as one whose timers were kept in a Go instance's memory.
"""

from __future__ import annotations

from ..core.progress import Progress
from ..errors import PenstockError
from ..events.gojson import Decoder, dumps

_DECODER = Decoder(Progress)


class BadRecord(PenstockError):
    """What is saved under an upload's key is not a record."""

    code = "bad-record"


def encode(progress: Progress) -> bytes:
    """Return a record's JSON; its first twelve keys are byte for byte as the Go services write them."""
    return dumps(progress)


def decode(data: bytes) -> Progress:
    """Read a record, whoever wrote it: keys in any order and case, missing ones at their zero value.

    Raises:
        BadRecord: it is no JSON object, or a value has a type that Go would refuse.
    """
    try:
        return _DECODER.decode(data)
    except ValueError as error:
        raise BadRecord(f"not a record of postprocessing: {error}") from error
