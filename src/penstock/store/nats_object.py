"""Records in an object bucket of NATS JetStream, in the layout of the Go services. Deprecated: use `nats-js-kv`.

Needs nats-server 2.9 or newer with JetStream, and the right to make a bucket where it is missing. Leaves behind the
bucket, which it makes as the Go services do, and a key-value bucket `<bucket>_answers` for which steps were ever
answered. Whoever is killed in the middle of a write leaves one chunk behind, of about 1 KiB, which nobody reads.

A record is an object: one message tells about it (meta), another is its content (chunk). A change writes a new chunk,
then the meta, then takes the former chunk away, so it takes four questions to the server where `nats-js-kv` needs
one. That the meta is still the one that was read is the condition under which a change counts. Otherwise it is as
`nats-js-kv`: an index in memory, filled by reading the bucket.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from nats.nuid import NUID

from ..events.gojson import dumps
from .base import RevisionConflict, StoreUnavailable
from .layout import BadRecord
from .streams.bucket import Bucket, Found, checked_name, fits, raise_conflict
from .streams.reader import Reader
from .streams.store import StreamStore
from .streams.stream import Stream, WrongSequence, config_of

if TYPE_CHECKING:
    from .streams.bucket import Interpreter
    from .streams.requests import Requests
    from .streams.stream import Message
    from .target import StoreTarget

_DESCRIPTION: Final = "Object storage administered by go-micro store plugin"
_ROLLUP: Final = b"Nats-Rollup: sub\r\n"
"""The meta replaces those before it."""
_CHUNK_BYTES: Final = 131_072
_MOST_CHUNKS: Final = 1024
"""Of objects whose meta has not come yet, while reading through a bucket: more than are written at once."""
_READS: Final = 5
"""How often to read a record that is replaced while it is read."""


class Options(msgspec.Struct, frozen=True):
    """How an object is cut."""

    max_chunk_size: int = _CHUNK_BYTES


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What is written of an object, in Go's order."""

    name: str = ""
    description: str = "Store managed by go-micro"
    options: Options = Options()
    bucket: str = ""
    nuid: str = ""
    """Where its chunks are."""
    size: int = 0
    mtime: str = "0001-01-01T00:00:00Z"
    chunks: int = 0
    digest: str | msgspec.UnsetType = msgspec.UNSET
    deleted: bool | msgspec.UnsetType = msgspec.UNSET


class Described(msgspec.Struct, frozen=True):
    """A meta, and where it was found."""

    meta: Meta
    seq: int

    @property
    def deleted(self) -> bool:
        """Whether it says that there is nothing any more."""
        return self.meta.deleted is True


class ObjectBucket(Bucket):
    """An object per record, named `<table>_<upload ID>`, or by the upload ID alone."""

    each_says_all = False

    def __init__(self, requests: Requests, target: StoreTarget) -> None:
        self._name = checked_name(target.database)
        self._metas = f"$O.{self._name}.M."
        self._chunks = f"$O.{self._name}.C."
        self._table = f"{target.table}_" if target.table else ""
        self._nuids = NUID()
        config = config_of(
            f"OBJ_{self._name}",
            _DESCRIPTION,
            [f"{self._chunks}>", f"{self._metas}>"],
            max_age=target.ttl,
            persistent=target.persistent,
        )
        self.stream = Stream(requests, config)

    def subject_of(self, upload_id: str) -> str:
        """Return the subject of a record's meta."""
        return self._metas + urlsafe_b64encode(self._object(upload_id).encode()).decode()

    def _object(self, upload_id: str) -> str:
        return f"{self._table}{upload_id}"

    def _id_of(self, subject: str) -> str | None:
        """Return the upload of a meta's subject; None when it is not one of our objects."""
        if not subject.startswith(self._metas):
            return None
        try:
            name = urlsafe_b64decode(subject.removeprefix(self._metas)).decode()
        except ValueError:
            return None
        return name.removeprefix(self._table) if name.startswith(self._table) else None

    def interpreter(self) -> Interpreter:
        """Return what puts chunks and metas together: the chunks come first, and mostly just before their meta."""
        chunks: dict[str, list[bytes]] = {}

        def interpret(message: Message) -> Found | None:
            if message.subject.startswith(self._chunks):
                chunks.setdefault(message.subject, []).append(message.data)
                if len(chunks) > _MOST_CHUNKS:
                    del chunks[next(iter(chunks))]
                return None
            upload_id = self._id_of(message.subject)
            if upload_id is None:
                return None
            described = _described(message)
            if described is None or described.deleted:
                return Found(upload_id, message.seq, None if described else b"")
            content = chunks.pop(self._chunks + described.meta.nuid, None)
            if content is None:
                return Found(upload_id, message.seq, None, elsewhere=True)
            return Found(upload_id, message.seq, _whole(described.meta, content))

        return interpret

    async def read(self, upload_id: str) -> Found | None:
        """Return the record that the current meta tells of."""
        subject = self.subject_of(upload_id)
        if not fits(subject):
            return None
        before = 0
        for _ in range(_READS):
            message = await self.stream.last(subject)
            if message is None:
                return None
            described = _described(message)
            if described is None or described.deleted:
                return Found(upload_id, message.seq, None if described else b"")
            content = await self._content(described.meta)
            data = _whole(described.meta, content)
            # Content that is incomplete was replaced since we read the meta; unless that is still the same.
            if data or message.seq == before:
                return Found(upload_id, message.seq, data)
            before = message.seq
        raise StoreUnavailable(f"upload {upload_id} is written all the time, so that it could not be read")

    async def _content(self, meta: Meta) -> list[bytes]:
        subject = self._chunks + meta.nuid
        if meta.chunks <= 1:
            message = await self.stream.last(subject) if meta.chunks else None
            return [message.data] if message else []
        reader, content = Reader(self.stream, subject=subject), list[bytes]()
        try:
            async for page in reader.pages():
                content += [message.data for message in page]
        finally:
            await reader.close()
        return content

    async def write(self, upload_id: str, data: bytes, *, expected: int | None) -> int:
        """Write chunks, then the meta if it is still the one that was read, and take the former chunks away."""
        subject = self.subject_of(upload_id)
        if not fits(subject):
            raise BadRecord(f"upload ID {upload_id[:40]}…: too long for an object of NATS ({len(subject)} characters)")
        before = await self._meta(upload_id, subject, expected)
        meta = Meta(
            name=self._object(upload_id),
            bucket=self._name,
            nuid=self._nuids.next().decode(),
            size=len(data),
            chunks=-(-len(data) // _CHUNK_BYTES),
            digest=_digest(data),
        )
        chunks = self._chunks + meta.nuid
        for start in range(0, len(data), _CHUNK_BYTES):
            await self.stream.append(chunks, data[start : start + _CHUNK_BYTES], expected=None)
        try:
            seq = await self._append(subject, meta, before)
        except WrongSequence:
            await self._take_away(chunks)
            raise RevisionConflict(upload_id) from None
        if before is not None and not before.deleted:
            await self._take_away(self._chunks + before.meta.nuid)
        return seq

    async def remove(self, upload_id: str, *, expected: int) -> int | None:
        """Write a meta that says so, and take the chunks away."""
        subject = self.subject_of(upload_id)
        try:
            before = await self._meta(upload_id, subject, expected)
        except RevisionConflict:
            found = await self.read(upload_id)
            if found is None or (found.data is None and not found.elsewhere):
                return None
            raise
        meta = Meta(
            name=self._object(upload_id), bucket=self._name, nuid=before.meta.nuid if before else "", deleted=True
        )
        try:
            seq = await self._append(subject, meta, before)
        except WrongSequence:
            return await self.remove(upload_id, expected=expected)  # which now finds another meta, or none
        await self._take_away(self._chunks + meta.nuid)
        return seq

    async def _meta(self, upload_id: str, subject: str, expected: int | None) -> Described | None:
        """Return what is known of an object, if it is what is expected.

        Raises:
            RevisionConflict: it is not.
        """
        message = await self.stream.last(subject) if fits(subject) else None
        if message is None:
            raise_conflict(upload_id, None, expected)
            return None
        described = _described(message) or Described(Meta(), message.seq)
        raise_conflict(upload_id, Found(upload_id, message.seq, None if described.deleted else b""), expected)
        return described

    async def _append(self, subject: str, meta: Meta, before: Described | None) -> int:
        return await self.stream.append(subject, dumps(meta), expected=before.seq if before else 0, headers=_ROLLUP)

    async def _take_away(self, chunks: str) -> None:
        if chunks != self._chunks:
            with suppress(StoreUnavailable):  # nobody reads them any more
                await self.stream.purge(chunks)


def _described(message: Message) -> Described | None:
    """Read a meta; None when it is none."""
    try:
        return Described(msgspec.json.decode(message.data, type=Meta), message.seq)
    except msgspec.MsgspecError:
        return None


def _whole(meta: Meta, content: list[bytes]) -> bytes:
    """Return an object's content; empty when it is not what the meta tells of."""
    data = b"".join(content)
    return data if len(data) == meta.size and meta.digest in (msgspec.UNSET, "", _digest(data)) else b""


def _digest(data: bytes) -> str:
    return f"SHA-256={urlsafe_b64encode(hashlib.sha256(data).digest()).decode()}"


class NatsObjectStore(StreamStore):
    """The store `nats-js`."""

    def _make_bucket(self, requests: Requests) -> ObjectBucket:
        return ObjectBucket(requests, self._target)
