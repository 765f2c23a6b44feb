"""Records in an object bucket of NATS JetStream, in the layout of the Go services. Deprecated: use `nats-js-kv`.

Needs nats-server 2.9 or newer with JetStream, and the right to make a bucket where it is missing. Leaves behind the
bucket, which it makes as the Go services do, and a key-value bucket `<bucket>_answers` for which steps were ever
answered. Whoever is killed in the middle of a write leaves a chunk behind, of about 1 KiB, which nobody reads.

A record is an object: one message tells about it (meta), another is its content (chunk). A change writes a new chunk,
then the meta, then takes the former ones away, so it takes four questions to the server where `nats-js-kv` needs
one. That the meta is still the one that was read is the condition under which a change counts. Otherwise it is as
`nats-js-kv`: an index in memory, filled by reading the bucket.

Former versions that this instance has written are removed by their numbers; others, whose numbers it does not know,
by purging their subjects. After a kill in between, a former meta lies beside the latest until the next write, or the
next start of an instance: only the last one of a subject counts.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from nats.nuid import NUID

from ..events.gojson import dumps
from .base import RevisionConflict, StoreUnavailable
from .layout import BadRecord
from .streams.bucket import Bucket, Found, checked_name, fits, raise_conflict
from .streams.objects import CHUNK_BYTES, Meta, digest, meta_in, whole
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
_MOST_CHUNKS: Final = 1024
"""Of objects whose meta has not come yet, while reading through a bucket: more than are written at once."""
_READS: Final = 5
"""How often to read a record that is replaced while it is read."""
_WRITTEN_KNOWN: Final = 20_000
"""Records of which it is remembered where their latest version lies, some 300 bytes each."""


class Version(NamedTuple):
    """A version of a record, or its removal: what has to be known to put another one in its place."""

    seq: int = 0
    """Of its meta; 0: there is none."""
    nuid: str = ""
    """Where its chunks are; empty: nowhere."""
    chunks: tuple[int, ...] | None = None
    """Their sequence numbers, if this instance has written it, and nothing is left of those before. None: nobody can
    tell."""


class ObjectBucket(Bucket):
    """An object per record, named `<table>_<upload ID>`, or by the upload ID alone."""

    each_says_all = False

    def __init__(self, requests: Requests, target: StoreTarget) -> None:
        self._name = checked_name(target.database)
        self._metas = f"$O.{self._name}.M."
        self._chunks = f"$O.{self._name}.C."
        self._table = f"{target.table}_" if target.table else ""
        self._nuids = NUID()
        self._written: dict[str, Version] = {}
        """What this instance has written last of an upload; the longest ago first."""
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
            meta = meta_in(message)
            if meta is None or meta.is_removal:
                return Found(upload_id, message.seq, None if meta else b"")
            content = chunks.pop(self._chunks + meta.nuid, None)
            if content is None:
                return Found(upload_id, message.seq, None, elsewhere=True)
            return Found(upload_id, message.seq, whole(meta, content))

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
            meta = meta_in(message)
            if meta is None or meta.is_removal:
                return Found(upload_id, message.seq, None if meta else b"")
            data = whole(meta, await self._content(meta))
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
        """Write chunks, then the meta if the one before is still the latest, and take the former version away."""
        subject = self.subject_of(upload_id)
        if not fits(subject):
            raise BadRecord(f"upload ID {upload_id[:40]}…: too long for an object of NATS ({len(subject)} characters)")
        former = await self._former(upload_id, subject, expected)
        nuid = self._nuids.next().decode()
        chunks = [
            await self.stream.append(self._chunks + nuid, data[start : start + CHUNK_BYTES], expected=None)
            for start in range(0, len(data), CHUNK_BYTES)
        ]
        meta = Meta(
            name=self._object(upload_id),
            bucket=self._name,
            nuid=nuid,
            size=len(data),
            chunks=len(chunks),
            digest=digest(data),
        )
        try:
            seq = await self._append(subject, meta, former)
        except WrongSequence:
            with suppress(StoreUnavailable):  # nobody reads them
                await self.stream.purge(self._chunks + nuid)
            raise RevisionConflict(upload_id) from None
        if await self._take_away(former, subject, seq):
            self._remember(upload_id, Version(seq, nuid, tuple(chunks)))
        return seq

    async def remove(self, upload_id: str, *, expected: int) -> int | None:
        """Write a meta that says so, and take the former version away."""
        subject = self.subject_of(upload_id)
        try:
            former = await self._former(upload_id, subject, expected)
        except RevisionConflict:
            found = await self.read(upload_id)
            if found is None or (found.data is None and not found.elsewhere):
                return None
            raise
        meta = Meta(name=self._object(upload_id), bucket=self._name, nuid=former.nuid, deleted=True)
        try:
            seq = await self._append(subject, meta, former)
        except WrongSequence:
            return await self.remove(upload_id, expected=expected)  # which now finds another meta, or none
        await self._take_away(former, subject, seq)
        return seq

    def forget(self) -> None:
        """Forget where versions lie."""
        self._written.clear()

    def _remember(self, upload_id: str, version: Version) -> None:
        self._written[upload_id] = version
        if len(self._written) > _WRITTEN_KNOWN:
            del self._written[next(iter(self._written))]

    async def _former(self, upload_id: str, subject: str, expected: int | None) -> Version:
        """Return what there is of an object, if it is what is expected, as far as is known.

        Raises:
            RevisionConflict: it is not.
        """
        written = self._written.pop(upload_id, None)
        if written is not None and written.seq == expected:
            return written  # or somebody else has written since, which the server will say
        message = await self.stream.last(subject) if fits(subject) else None
        if message is None:
            raise_conflict(upload_id, None, expected)
            return Version(chunks=())
        meta = meta_in(message) or Meta()
        raise_conflict(upload_id, Found(upload_id, message.seq, None if meta.is_removal else b""), expected)
        return Version(message.seq, "" if meta.is_removal else meta.nuid)

    async def _append(self, subject: str, meta: Meta, former: Version) -> int:
        """Write a meta after the former one. The server takes those before away at once, where they are not known."""
        headers = _ROLLUP if former.chunks is None else b""
        return await self.stream.append(subject, dumps(meta), expected=former.seq, headers=headers)

    async def _take_away(self, former: Version, subject: str, seq: int) -> bool:
        """Remove the version that `seq` has taken the place of; return whether nothing is left of it for certain.

        What is removed by its number leaves the readers of the stream where they are. When a subject is purged,
        nats-server 2.9 has all of them leap to the end, and begin again.
        """
        with suppress(StoreUnavailable):  # nobody reads it any more
            if former.chunks is not None:
                numbers = (*former.chunks, former.seq) if former.seq else ()
                if all(await asyncio.gather(*map(self.stream.delete, numbers))):
                    return True
                await self.stream.purge(subject, before=seq)
            if former.nuid:
                await self.stream.purge(self._chunks + former.nuid)
            return True
        return False


class NatsObjectStore(StreamStore):
    """The store `nats-js`."""

    def _make_bucket(self, requests: Requests) -> ObjectBucket:
        return ObjectBucket(requests, self._target)
