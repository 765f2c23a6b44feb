"""One stream of JetStream: the messages of a bucket, in the order in which they were written."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import structlog

from ..base import StoreUnavailable
from ..layout import BadRecord
from .requests import NO_MESSAGE, NO_STREAM, STREAM_EXISTS, WRONG_SEQUENCE, NobodyAnswers, Refused, Reply, understood

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeVar

    from .requests import Requests

    T = TypeVar("T")

log = structlog.get_logger(__name__)

EXPECTED: Final = b"Nats-Expected-Last-Subject-Sequence"
_HEADERS_BYTES: Final = 512
"""More than the headers of a message need, which count to its size."""
_DUPLICATES: Final = timedelta(minutes=2)
_NANOSECONDS: Final = 1000
"""Per microsecond."""


class Message(NamedTuple):
    """A message that a stream holds."""

    subject: str
    seq: int
    data: bytes
    headers: bytes
    """As they were written, with the version before them; empty when there are none."""


class WrongSequence(Exception):
    """The last message of the subject is another one than was expected; nothing was written."""


class State(msgspec.Struct, frozen=True):
    """How far a stream has come."""

    last_seq: int = 0


class Config(msgspec.Struct, frozen=True):
    """What we look at in a stream's configuration."""

    deny_purge: bool = False
    num_replicas: int = 1


class Info(Reply, frozen=True, kw_only=True):
    """What the server tells of a stream."""

    created: str = ""
    """Tells a stream from another one of the same name that was there before."""
    state: State = State()
    config: Config = Config()


class _Ack(Reply, frozen=True, kw_only=True):
    seq: int = 0


class _Stored(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    data: bytes = b""
    hdrs: bytes = b""


class _Got(Reply, frozen=True, kw_only=True):
    message: _Stored | None = None


def keeps_conditions(version: tuple[int, ...], info: Info) -> bool:
    """Tell whether of two conditional writes at the same time one fails, as it should.

    With copies, servers before 2.9.21 look at the condition before they agree on the write, so both may succeed
    (nats-server issue 4320); a server that tells no version is taken for one of those. A stream without copies, as the
    Go services make it, was never affected.
    """
    return info.config.num_replicas <= 1 or version >= (2, 9, 21)


def config_of(
    name: str, description: str, subjects: list[str], *, max_age: timedelta | None, persistent: bool, **more: Any
) -> dict[str, Any]:
    """Return the configuration with which the Go services create a stream of theirs; `more` is added."""
    age = max_age or timedelta()
    return {
        "name": name,
        "description": description,
        "subjects": subjects,
        "retention": "limits",
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": _nanoseconds(age),
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "discard": "new",
        "storage": "file" if persistent else "memory",
        "num_replicas": 1,
        "duplicate_window": _nanoseconds(min(age, _DUPLICATES) if age else _DUPLICATES),
        "allow_direct": True,
        "allow_rollup_hdrs": True,
    } | more


def _nanoseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * _NANOSECONDS


class Stream:
    """A stream that is created when it is missing, and taken as it is when it is there.

    Any method may raise `StoreUnavailable`. Reading asks the leader of the stream, never a copy that may lag behind.
    """

    def __init__(self, requests: Requests, config: Mapping[str, Any]) -> None:
        self.requests: Final = requests
        self.name: Final[str] = config["name"]
        self._config = config
        self._creating = asyncio.Lock()
        self.made = 0
        """How often it was made here."""

    async def open(self) -> Info:
        """Return what the server tells of it; create it first where it is missing."""
        async with self._creating:
            return await self._found_or_made()

    async def _found_or_made(self) -> Info:
        try:
            return await self._info()
        except Refused as error:
            if error.err_code != NO_STREAM:
                raise StoreUnavailable(str(error)) from error
        return await self._create()

    async def info(self) -> Info | None:
        """Return what the server tells of it; None when it is missing."""
        try:
            return await self._info()
        except Refused as error:
            if error.err_code == NO_STREAM:
                return None
            raise StoreUnavailable(str(error)) from error

    async def _info(self) -> Info:
        return await self.requests.api(f"STREAM.INFO.{self.name}", None, Info)

    async def _create(self) -> Info:
        try:
            created = await self.requests.api(f"STREAM.CREATE.{self.name}", self._config, Info)
            self.made += 1
            log.info("store_created", stream=self.name)
            return created
        except Refused as error:
            if error.err_code != STREAM_EXISTS:
                raise StoreUnavailable(f"stream {self.name} cannot be created: {error}") from error
        try:  # somebody else was faster, and chose otherwise
            return await self._info()
        except Refused as error:
            raise StoreUnavailable(str(error)) from error

    async def last(self, subject: str) -> Message | None:
        """Return the last message of a subject, or None."""
        return await self._message({"last_by_subj": subject})

    async def next(self, seq: int, subject: str) -> Message | None:
        """Return the first message from `seq` on whose subject is `subject`, or matches it; None if there is none."""
        return await self._message({"seq": seq, "next_by_subj": subject})

    async def at(self, seq: int) -> Message | None:
        """Return one message; None if it is gone."""
        return await self._message({"seq": seq})

    async def _message(self, which: dict[str, Any]) -> Message | None:
        async def work() -> Message | None:
            try:
                got = await self.requests.api(f"STREAM.MSG.GET.{self.name}", which, _Got)
            except Refused as error:
                if error.err_code == NO_MESSAGE:
                    return None
                raise
            stored = got.message
            return None if stored is None else Message(stored.subject, stored.seq, stored.data, stored.hdrs)

        try:
            return await self._where_it_is(work)
        except Refused as error:
            raise StoreUnavailable(str(error)) from error

    async def append(self, subject: str, data: bytes, *, expected: int | None, headers: bytes = b"") -> int:
        """Write a message, and return its sequence number.

        `expected` is that of the subject's last message, 0 when it has none; None to write in any case. `headers` are
        lines, each with its end.

        Raises:
            WrongSequence: the last message is another one.
            BadRecord: the server takes no message of this size.
        """
        if len(data) > self.requests.client.max_payload - _HEADERS_BYTES:
            raise BadRecord(f"a record of {len(data)} bytes: the NATS server takes no message of this size")
        if expected is not None:
            headers += b"%b: %d\r\n" % (EXPECTED, expected)
        block = b"NATS/1.0\r\n%b\r\n" % headers if headers else b""
        made = self.made
        try:
            try:
                return await self._write(subject, data, block)
            except (NobodyAnswers, Refused) as error:
                await self._make_again(error, made)
            return await self._write(subject, data, block)
        except Refused as error:
            if error.err_code == WRONG_SEQUENCE:
                raise WrongSequence(subject) from error
            raise StoreUnavailable(str(error)) from error

    async def _write(self, subject: str, data: bytes, headers: bytes) -> int:
        answer = await self.requests.ask(subject, data, headers=headers)
        return understood(f"a message to {subject}", answer.data, _Ack).seq

    async def purge(self, subject: str, *, before: int | None = None) -> None:
        """Remove all messages of a subject, or those with a sequence number less than `before`."""
        body: dict[str, object] = {"filter": subject}
        if before is not None:
            body["seq"] = before
        try:
            await self.requests.api(f"STREAM.PURGE.{self.name}", body, Reply)
        except Refused as error:
            raise StoreUnavailable(str(error)) from error

    async def delete(self, seq: int) -> bool:
        """Remove one message; return False if the server does not: there is none, or the stream does not allow it."""
        try:
            await self.requests.api(f"STREAM.MSG.DELETE.{self.name}", {"seq": seq, "no_erase": True}, Reply)
        except Refused:
            return False
        return True

    async def _where_it_is(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something with the stream; create it and do it again if it turns out to be missing."""
        made = self.made
        try:
            return await work()
        except (NobodyAnswers, Refused) as error:
            await self._make_again(error, made)
        return await work()

    async def _make_again(self, error: NobodyAnswers | Refused, made: int) -> None:
        """Create the stream if it turns out to be missing; `made` is how often it had been made before.

        Raises:
            Refused: it was something else.
        """
        if isinstance(error, Refused) and error.err_code != NO_STREAM:
            raise error
        async with self._creating:
            if self.made == made:  # otherwise somebody else has missed it, too
                await self._found_or_made()
