"""Records in a key-value bucket of NATS JetStream: what the Go services use by default, in their layout.

Needs nats-server 2.9 or newer with JetStream, and the right to make a bucket where it is missing. Leaves behind the
bucket, which it makes as the Go services do, and a second one, `<bucket>_answers`, for which steps were ever answered.

What it costs, besides a question to the server for each record that is read or written:

- NATS cannot be asked what is due or in a step. So each instance keeps an index in memory, some 300 bytes per record.
  To fill it, the whole bucket is read once at start (100,000 records: a few seconds), and what was written since is
  read every two seconds: of each record that changed, its last version.
- What another instance has written is therefore due here up to two seconds late. What this instance writes it knows at
  once. Lists and counts ask for what is new first, and `due` reads each record that it returns.
- A list of all records, or of a step in which many are, reads the whole bucket.

A removal is written as the Go services write it. The marker that it leaves is purged a minute later, unless the bucket
forbids that.
"""

from __future__ import annotations

from base64 import b32encode
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..events.gojson import Decoder, dumps
from .base import RevisionConflict
from .layout import BadRecord
from .streams.bucket import Bucket, Found, checked_name, fits, raise_conflict
from .streams.store import StreamStore
from .streams.stream import Stream, WrongSequence, config_of

if TYPE_CHECKING:
    from .streams.bucket import Interpreter
    from .streams.requests import Requests
    from .streams.stream import Message
    from .target import StoreTarget

_DESCRIPTION: Final = "KeyValue storage administered by go-micro store plugin"
_REMOVED: Final = b"KV-Operation: DEL\r\n"
_OPERATION: Final = b"\r\nKV-Operation:"
"""A header of markers only: DEL or PURGE."""
_SERVERS_OWN: Final = b"\r\nNats-Marker-Reason:"
"""A header of markers that newer servers write when something expires."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value of a key, as go-micro writes it."""

    key: str = ""
    """The upload ID, without the table."""
    data: bytes = b""
    """The record, in base64."""
    metadata: Any = None


_DECODER: Final = Decoder(Entry)

_NO_DIGITS: Final = "0189abcdefghijklmnopqrstuvwxyz"
_AS_NUMBER: Final = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" + _NO_DIGITS, "0123456789abcdefghijklmnopqrstuv" + "!" * len(_NO_DIGITS)
)
"""What stands for a digit, as Python writes it; and what does not."""
_PADDINGS: Final = (0, 1, 3, 4, 6)
"""How many `=` may end a key."""


@lru_cache(maxsize=8192)
def _key(name: str) -> str:
    """Return a name in base32, which takes a while: an upload's record is written four times and more."""
    return b32encode(name.encode()).decode()


def _name(key: str) -> bytes:
    """Return what `_key` was made of. The library's way takes a third of the time of a walk.

    Raises:
        ValueError: it is no base32.
    """
    digits = key.rstrip("=").translate(_AS_NUMBER)
    size, rest = divmod(5 * len(digits), 8)
    if len(key) % 8 or not (digits.isascii() and digits.isalnum()) or len(key) - len(digits) not in _PADDINGS:
        raise ValueError(f"not base32: {key}")
    return (int(digits, 32) >> rest).to_bytes(size, "big")


class KvBucket(Bucket):
    """A record per key: the base32 of `<table>_<upload ID>`, or of the upload ID alone, with its padding."""

    each_says_all = True

    def __init__(self, requests: Requests, target: StoreTarget) -> None:
        name = checked_name(target.database)
        self._subjects = f"$KV.{name}."
        self._table = f"{target.table}_" if target.table else ""
        config = config_of(
            f"KV_{name}",
            _DESCRIPTION,
            [f"{self._subjects}>"],
            max_age=target.ttl,
            persistent=target.persistent,
            max_msgs_per_subject=1,
            deny_delete=True,
        )
        self.stream = Stream(requests, config)

    def subject_of(self, upload_id: str) -> str:
        """Return the subject of a record's key."""
        return self._subjects + _key(f"{self._table}{upload_id}")

    def _id_of(self, subject: str) -> str | None:
        """Return the upload of a subject; None when it is not one of our keys."""
        try:
            name = _name(subject.removeprefix(self._subjects)).decode()
        except ValueError:
            return None
        return name.removeprefix(self._table) if name.startswith(self._table) else None

    def interpreter(self) -> Interpreter:
        """Return what reads message by message: each stands for itself."""

        def interpret(message: Message) -> Found | None:
            upload_id = self._id_of(message.subject)
            return None if upload_id is None else _found(upload_id, message)

        return interpret

    async def read(self, upload_id: str) -> Found | None:
        """Return the last message of the key."""
        subject = self.subject_of(upload_id)
        message = await self.stream.last(subject) if fits(subject) else None
        return None if message is None else _found(upload_id, message)

    async def write(self, upload_id: str, data: bytes, *, expected: int | None) -> int:
        """Write a value after the version that was read; a new one also after a removal."""
        subject = self.subject_of(upload_id)
        if not fits(subject):
            raise BadRecord(f"upload ID {upload_id[:40]}…: too long for a key of NATS ({len(subject)} characters)")
        value = dumps(Entry(key=upload_id, data=data))
        try:
            return await self.stream.append(subject, value, expected=expected or 0)
        except WrongSequence:
            found = await self.read(upload_id)
            raise_conflict(upload_id, found, expected)
        if expected is None:  # it was removed, and the marker is, or was, still there
            with suppress(WrongSequence):
                return await self.stream.append(subject, value, expected=found.seq if found else 0)
        raise RevisionConflict(upload_id)

    async def remove(self, upload_id: str, *, expected: int) -> int | None:
        """Write a marker after the version that was read."""
        try:
            return await self.stream.append(self.subject_of(upload_id), b"", expected=expected, headers=_REMOVED)
        except WrongSequence:
            found = await self.read(upload_id)
            if found is None or found.data is None:
                return None
            raise RevisionConflict(upload_id) from None

    def forget(self) -> None:
        """Do nothing: nothing is remembered."""


def _found(upload_id: str, message: Message) -> Found:
    if _OPERATION in message.headers or _SERVERS_OWN in message.headers:
        return Found(upload_id, message.seq, None)
    try:
        data = _DECODER.decode(message.data).data
    except (ValueError, OverflowError):
        data = b""  # which is no record
    return Found(upload_id, message.seq, data)


class NatsKvStore(StreamStore):
    """The store `nats-js-kv`."""

    def _make_bucket(self, requests: Requests) -> KvBucket:
        return KvBucket(requests, self._target)
