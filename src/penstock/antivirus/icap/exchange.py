"""One request and its answer on a connection: sends and receives at once, and stops when there is an answer."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from ..base import ScannerProtocolError, ScannerUnavailable, SourceUnreadable
from ..deadline import give_up_after
from .answers import Answer, AnswerReader, ChunkReader
from .judgement import needs_body
from .protocol import LAST_CHUNK, LAST_CHUNK_OF_ALL, chunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from .connection import Connection
    from .profiles import Profile
    from .protocol import Method

_CONTINUE: Final = 100
_REASON_SECONDS: Final = 5.0
"""How long we wait, when the server has broken off, for it to have said why."""


class Heard(NamedTuple):
    """What came of a request."""

    answer: Answer
    all_sent: bool
    """Whether the server had been given everything when it answered."""
    sent_back: bool | None
    """Whether the answer encapsulates the file; None: not looked at."""
    reusable: bool
    """Whether the connection is as it was before."""
    seconds: float = 0.0
    """How long it took to answer, from before the last of what we sent: it may not have had everything sooner."""


class Plan(NamedTuple):
    """What is asked, and how."""

    request: bytes
    """Everything before the first chunk."""
    preview_bytes: int | None
    method: Method
    profile: Profile
    could_say_204: bool
    what: str
    """For messages: which server is to do what."""
    patience: timedelta
    """How long the server may take for anything that is not the scan itself."""
    time_to_scan: timedelta
    """How long it may take to answer once it has everything."""


class Exchange:
    """Puts one file before the service."""

    def __init__(self, connection: Connection, plan: Plan, size_bytes: int) -> None:
        self._connection = connection
        self._plan = plan
        self._size_bytes = size_bytes
        self._go_on = asyncio.Event()
        self._sent_digest = hashlib.sha256()
        self._sent_bytes = 0
        self._all_sent = False
        self._last_sent_at = float("-inf")
        self._more = False  # whether something came behind the answer
        self.repeatable = True
        """Whether it can be done again on another connection: nothing was answered, and no more than the first piece
        of the file is gone."""

    async def run(self, first: bytes, rest: AsyncIterator[bytes]) -> Heard:
        """Do it.

        Args:
            first: the first piece of the file; empty for an empty file.
            rest: the other pieces.

        Raises:
            ScannerUnavailable: the connection broke before there was an answer.
            ScannerProtocolError: what came is no answer.
            ScanTimeout: it did not come in time.
        """
        receiving = asyncio.create_task(self._receive())
        sending = asyncio.create_task(self._send(first, rest))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            sent = sending.done() and await _ended_well(sending)
            if not receiving.done():
                await self._wait_for(receiving, sent=sent)
            answer, all_sent, sent_back = receiving.result()
            seconds = asyncio.get_running_loop().time() - self._last_sent_at
        finally:
            sending.cancel()
            receiving.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
        quiet = self._connection.is_quiet and not self._more
        reusable = all_sent and quiet and not answer.is_last and not answer.has_body and answer.icap.status == 204
        return Heard(answer, all_sent, sent_back, reusable, seconds)

    async def _wait_for(self, receiving: asyncio.Task[tuple[Answer, bool, bool | None]], *, sent: bool) -> None:
        if not sent:  # the server broke off: what it has said is more telling than how the connection failed
            await asyncio.wait({receiving}, timeout=_REASON_SECONDS)
            if not receiving.done():
                raise ScannerUnavailable(f"the ICAP server broke off: {self._plan.what}")
            return
        async with give_up_after(self._plan.time_to_scan, self._plan.what):
            await asyncio.wait({receiving})

    # --- sending ----------------------------------------------------------------------------------------------------

    async def _send(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        plan = self._plan
        if not self._size_bytes:
            self._all_sent = True
            await self._push(plan.request)
            return
        preview = first if plan.preview_bytes is None else first[: plan.preview_bytes]
        await self._push(plan.request + self._as_chunk(preview))
        if plan.preview_bytes is not None:
            if len(preview) == self._size_bytes:
                await self._end(LAST_CHUNK_OF_ALL)
                return
            await self._push(LAST_CHUNK)
            async with give_up_after(plan.patience, plan.what):
                await self._go_on.wait()
            if len(first) > len(preview):
                await self._push(self._as_chunk(first[len(preview) :]))
        self.repeatable = False  # what is asked for now cannot be had again
        async for piece in rest:
            await self._push(self._as_chunk(piece))
        await self._end(LAST_CHUNK)

    async def _end(self, last_chunk: bytes) -> None:
        if self._sent_bytes != self._size_bytes:
            raise SourceUnreadable(f"only {self._sent_bytes} of {self._size_bytes} bytes were sent")
        await asyncio.sleep(0)  # an answer that is there already is one to less than the whole file
        self._all_sent = True
        await self._push(last_chunk)

    async def _push(self, data: bytes) -> None:
        self._last_sent_at = asyncio.get_running_loop().time()
        async with give_up_after(self._plan.patience, f"{self._plan.what}: it does not take more bytes"):
            await self._connection.send(data)

    def _as_chunk(self, data: bytes) -> bytes:
        self._sent_bytes += len(data)
        if not self._plan.could_say_204 or self._plan.profile.unmodified_is_clean:
            self._sent_digest.update(data)
        return chunk(data) if data else b""

    # --- receiving --------------------------------------------------------------------------------------------------

    async def _receive(self) -> tuple[Answer, bool, bool | None]:
        """Return the answer, whether everything had been sent when it came, and whether it has the file in it."""
        reader = AnswerReader()
        data = b""
        while True:
            answer = reader.feed(data)
            if answer is None:
                data = await self._connection.receive()
                if not data:
                    raise ScannerUnavailable(
                        f"the ICAP server closed the connection without an answer: {self._plan.what}"
                    )
                self.repeatable = False
                continue
            if answer.icap.status != _CONTINUE:
                self._more = bool(reader.rest)
                all_sent = self._all_sent
                sent_back = await self._compare(answer, reader.rest)
                # Whoever sends the file back may begin while it still comes, and has seen all of it at the end.
                return answer, all_sent if sent_back is None else self._all_sent, sent_back
            if self._plan.preview_bytes is None or self._go_on.is_set():
                raise ScannerProtocolError("the ICAP server wants us to continue when there was no preview")
            self._go_on.set()
            reader, data = AnswerReader(), reader.rest

    async def _compare(self, answer: Answer, data: bytes) -> bool | None:
        """Tell whether the body is the file; None when that does not matter. It may come while we still send."""
        plan = self._plan
        if not self._size_bytes and not answer.has_body:
            return True
        if not needs_body(answer, plan.method, plan.profile, could_say_204=plan.could_say_204):
            return None
        body, digest = ChunkReader(), hashlib.sha256()
        while True:
            for piece in body.feed(data):
                digest.update(piece)
            if body.ended:
                return self._all_sent and digest.digest() == self._sent_digest.digest()
            data = await self._connection.receive()
            if not data:
                raise ScannerUnavailable(f"the ICAP server closed the connection in its answer: {plan.what}")


async def _ended_well(sending: asyncio.Task[None]) -> bool:
    try:
        await sending
    except ScannerUnavailable:
        return False
    return True
