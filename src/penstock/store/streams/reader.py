"""Reads a stream from some place to its end, a page at a time, and goes on from there later."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from nats import errors

from ...jetstream.headers import status_of
from ..base import StoreUnavailable
from .requests import Refused, Reply
from .stream import Message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .stream import Stream

_Raw: TypeAlias = tuple[bytes, bytes, bytes, bytes]

PAGE: Final = 256
"""Messages that are asked for at once: some 0.5 MiB of records."""
_IDLE_NANOSECONDS: Final = 5 * 60 * 10**9
"""After how long without a question the server forgets a reader."""
_SILENCE_SECONDS: Final = 0.25
"""How long to wait for the next message, doubled with each attempt."""
_NOTHING_MORE: Final = (b"404", b"408")
"""What the server tells when it has fewer messages than were asked for."""
_ATTEMPTS: Final = 4
_LONG: Final = 32
"""Where this many messages are missing in a row, it is asked whether they are: a leap is mostly longer, and of the gaps
that writing leaves, few are."""


class _Lost(Exception):
    """The server has forgotten this reader, or messages on the way to it were lost."""


class _Leapt(_Lost):
    """The server has left messages out."""


class _Consumer(Reply, frozen=True, kw_only=True):
    name: str = ""
    num_pending: int = 0


class Reader:
    """What a stream holds after `position`, in order.

    The server keeps a consumer for it (in memory, forgotten after five minutes), which is made anew at the position
    that was reached when it is lost: with the connection, with the server, with the stream. Where the stream was
    replaced by another one of the same name, reading begins again at its start, and `life` changes.
    """

    def __init__(self, stream: Stream, *, subject: str = "") -> None:
        """`subject`: the only one to read; empty for all."""
        self._stream = stream
        self._subject = subject
        self.position = 0
        """Sequence number of the last message that was read."""
        self.life = ""
        """Tells a stream from another one of the same name; empty before the first page."""
        self._consumer = ""
        self._handed_out = 0
        self._inbox = ""
        self._listening = 0
        self._arrived: list[_Raw] = []
        """Subject, reply subject, data and headers; a page at most: no more was asked for."""
        self._wanted = 0
        self._pending = 0
        """How many messages the server said it had for us after the last one; wrong where it has leapt."""
        self._known_until = 0
        """The sequence number of the stream's last message before the consumer was made."""
        self._doubtful: list[tuple[int, int]] = []
        """Where something may have been left out: the sequence numbers of the messages before and after."""
        self._complete = asyncio.Event()
        """All that was asked for has arrived, or the server has told something instead."""

    async def pages(self) -> AsyncGenerator[list[Message], None]:
        """Yield what there is, up to what was the last message when this began, or a little further.

        Raises:
            StoreUnavailable: the server is away; the position is kept.
        """
        info = await self._stream.open()
        if info.created != self.life or info.state.last_seq < self.position:
            await self.close()
            self.position, self.life = 0, info.created
        while self.position < info.state.last_seq:
            page = await self._next_page(min(PAGE, info.state.last_seq - self.position))
            if page or (page := await self._one_by_one(info.state.last_seq)):
                yield page
            else:  # what was the last message is gone
                self.position = info.state.last_seq

    async def close(self) -> None:
        """Let the server forget this reader; may be opened again by reading on."""
        client, consumer = self._stream.requests.client, self._consumer
        self._consumer = ""
        client.unlisten(self._listening)
        if consumer and client.is_connected:  # otherwise it will forget by itself
            client.send(f"$JS.API.CONSUMER.DELETE.{self._stream.name}.{consumer}".encode())

    async def _next_page(self, most: int) -> list[Message]:
        """Return at most `most` messages; none if there are none.

        That there are none is believed of a new consumer only: nats-server 2.9 miscounts what it has for one where
        messages were purged. Then it says that there is nothing, or says nothing at all.
        """
        page: list[Message] = []
        for attempt in range(_ATTEMPTS):
            try:
                if not self._consumer and await self._attach() == 0:
                    return page
                await self._fill(page, most, _SILENCE_SECONDS * 2**attempt)
                await self._keep_what_follows(page)
            except _Leapt:
                await self.close()
                return page or await self._one_by_one(self.position + most)
            except _Lost:
                await self.close()
            except BaseException:
                await self.close()
                raise
            if page:
                return page
            await self.close()
        raise StoreUnavailable(f"stream {self._stream.name} cannot be read: nothing comes, though there is more")

    async def _attach(self) -> int:
        """Have the server make a consumer that begins after our position; return how many messages it has for us."""
        begin: dict[str, Any] = {"deliver_policy": "all"}
        if self.position:
            begin = {"deliver_policy": "by_start_sequence", "opt_start_seq": self.position + 1}
        if self._subject:
            begin["filter_subject"] = self._subject
        config = begin | {
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": _IDLE_NANOSECONDS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        name, requests = self._stream.name, self._stream.requests
        known_until = (await self._stream.open()).state.last_seq
        try:
            body = {"stream_name": name, "config": config}
            consumer = await requests.api(f"CONSUMER.CREATE.{name}", body, _Consumer)
        except Refused as error:
            raise StoreUnavailable(str(error)) from error
        self._consumer, self._handed_out, self._arrived = consumer.name, 0, []
        self._pending, self._known_until, self._doubtful = consumer.num_pending, known_until, []
        self._inbox = requests.client.new_inbox()
        self._listening = requests.client.listen(self._inbox, partial(self._arrives, self._arrived))
        return consumer.num_pending

    def _arrives(self, arrived: list[_Raw], subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        arrived.append((subject, reply, data, headers))
        if len(arrived) >= self._wanted or status_of(headers):
            self._complete.set()

    async def _fill(self, page: list[Message], most: int, silence_seconds: float) -> None:
        """Ask for messages, and put those that come into `page`."""
        client, arrived = self._stream.requests.client, self._arrived
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream.name}.{self._consumer}"
        self._wanted = most
        self._complete.clear()
        try:
            client.send(subject.encode(), b'{"batch":%d,"no_wait":true}' % most, reply=self._inbox.encode())
        except errors.Error as error:
            raise StoreUnavailable(f"NATS: {str(error) or type(error).__name__}") from error
        before = -1
        while not self._complete.is_set() and len(arrived) > before:
            before = len(arrived)
            with suppress(TimeoutError):
                async with asyncio.timeout(silence_seconds):
                    await self._complete.wait()
        for raw in arrived:
            if status := status_of(raw[-1]):
                self._arrived.clear()
                if status in _NOTHING_MORE:
                    return
                raise _Lost
            page.append(self._received(*raw))
        if not self._complete.is_set():
            raise _Lost
        arrived.clear()

    async def _keep_what_follows(self, page: list[Message]) -> None:
        """Take what comes after something that was left out from `page`.

        nats-server 2.9 lets every consumer of a stream leap ahead, mostly to its end, when one subject is purged. Then
        it has fewer messages for us than it should, or the leap ends behind what was there when it made the consumer.
        """
        doubtful, self._doubtful = self._doubtful, []
        nothing_between = await asyncio.gather(*(self._is_next(seq, after=before) for before, seq in doubtful))
        for (before, _), is_next in zip(doubtful, nothing_between, strict=True):
            if not is_next:
                page[:] = [message for message in page if message.seq <= before]
                self.position = before
                raise _Leapt

    async def _is_next(self, seq: int, *, after: int) -> bool:
        """Tell whether nothing lies between `after` and `seq`."""
        follows = await self._stream.next(after + 1, self._subject or ">")
        return follows is None or follows.seq >= seq

    async def _one_by_one(self, until: int) -> list[Message]:
        """Return the next messages, a page at most, without a consumer: those up to `until`, or the one after that.

        All up to `until` were written before, so what is missing among them stays so.
        """
        first = await self._stream.next(self.position + 1, self._subject or ">")
        if first is None:
            return []
        seqs = [] if self._subject else range(first.seq + 1, min(until + 1, first.seq + PAGE))
        found = await asyncio.gather(*map(self._stream.at, seqs))
        page = [first, *(message for message in found if message is not None)]
        self.position = page[-1].seq
        return page

    def _received(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> Message:
        """Take a message from the server, if it is the next one."""
        # $JS.ACK.<stream>.<consumer>.<times>.<stream seq>.<consumer seq>.<time>.<pending>; a server in a domain puts
        # domain and account in front of the stream.
        tokens = reply.split(b".")
        first = 5 if len(tokens) == 9 else 7
        seq, number, _, pending = map(int, tokens[first : first + 4])
        if number != self._handed_out + 1:
            raise _Lost
        self._handed_out += 1
        left_out = seq - self.position - 1
        to_the_end = self.position < self._known_until <= seq
        if left_out and (left_out >= _LONG or to_the_end or pending < self._pending - 1):
            self._doubtful.append((self.position, seq))
        self.position, self._pending = seq, pending
        return Message(subject.decode(), self.position, data, headers)
