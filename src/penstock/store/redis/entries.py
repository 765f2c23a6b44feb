"""Records as they lie in Redis: bytes under a key, and how they are filed."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from typing import TYPE_CHECKING, Final, NamedTuple

from .. import layout
from ..base import Revision, Saved

if TYPE_CHECKING:
    from ...core.progress import Progress

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DIGITS: Final = 15
"""Hexadecimal digits of a revision: 60 bits, so that two writes of one upload never have the same by chance."""
_WRITE_ID: Final = b',"WriteID":"'
_TAIL_BYTES: Final = len(_WRITE_ID) + 16 + len(b'"}')
"""What `encode` adds, without the brace that it takes away."""


class Keys:
    """Where things lie.

    A record is under the table and the upload's ID with nothing in between, as with the Go services. What is ours is
    under keys with the byte 255, which UTF-8 never has: no upload can have an ID that is one of them.
    """

    def __init__(self, table: str) -> None:
        self.table = table.encode()
        self.prefix = b"penstock:" + self.table + b"\xff"
        self.pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", self.table) + b"*"

    def record(self, upload_id: str | bytes) -> bytes:
        """Return the key of an upload's record."""
        return self.table + (upload_id.encode() if isinstance(upload_id, str) else upload_id)

    def own(self, name: str) -> bytes:
        """Return the key of a part of the index."""
        return self.prefix + name.encode()


class Filing(NamedTuple):
    """How a record is filed, each as the scripts take it."""

    revision: bytes
    step: bytes
    """A colon and the step; empty for what is no record."""
    due: bytes
    """Microseconds since 1970; empty for none."""

    @property
    def entry(self) -> bytes:
        """What the index says of such a record."""
        return self.revision + self.step


class Row(NamedTuple):
    """One line of what `scripts.READ` returns."""

    upload: bytes
    score: bytes
    value: bytes | None
    entry: bytes | None


def encode(progress: Progress) -> bytes:
    """Return the bytes to write: the record, and an ID of this write.

    Without it, a record that was removed and saved again with the same content could not be told from the first.
    """
    return layout.encode(progress)[:-1] + _WRITE_ID + secrets.token_hex(8).encode() + b'"}'


def decode(upload_id: str, value: bytes) -> Saved:
    """Read what lies under an upload's key.

    Raises:
        BadRecord: it is no record, or that of another upload, whose key only looks like this one's.
    """
    progress = layout.decode(_without_write_id(value))
    if progress.upload_id != upload_id:
        raise layout.BadRecord(f"not the record of upload {upload_id}: its ID is {progress.upload_id!r}")
    return Saved(progress, Revision(int(revision_digits(value), 16)))


def _without_write_id(value: bytes) -> bytes:
    """Take out what is no part of the record: with a key that it does not know, decoding would take the slow way."""
    start = len(value) - _TAIL_BYTES
    return value[:start] + b"}" if start > 0 and value.startswith(_WRITE_ID, start) else value


def filing(progress: Progress, value: bytes) -> Filing:
    """Return how `value`, which says `progress`, is to be filed."""
    return _filed_as(progress, revision_digits(value))


def filing_of(saved: Saved) -> Filing:
    """Return how what was read is to be filed."""
    return _filed_as(saved.progress, spelled(saved.revision))


def _filed_as(progress: Progress, revision: bytes) -> Filing:
    due_at = progress.due_at
    due = b"" if due_at is None else b"%d" % to_microseconds(due_at)
    return Filing(revision, b":" + progress.status.current_step.encode(), due)


def revision_digits(value: bytes) -> bytes:
    """Return the revision of a value as the scripts spell it."""
    return sha1(value).hexdigest()[:_DIGITS].encode()  # noqa: S324  # tells changes apart, keeps nobody out


def spelled(revision: Revision) -> bytes:
    """Return a revision as the scripts spell it."""
    return b"%015x" % revision


def to_microseconds(at: datetime) -> int:
    """Return a time as the index keeps it; a floating-point score is exact until the year 2255."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(stored: bytes) -> datetime:
    """Return the time that the index keeps."""
    return _EPOCH + int(float(stored)) * _MICROSECOND
