"""Sends files, some at a time, and waits for what becomes of them; one that fails does not stop the others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

import httpx

from ...clock import Clock
from ...errors import NotFound, PenstockError
from ..api import PREFIX, away, document, goes_far, trusted_by
from .follower import Follower
from .remembered import Memory
from .sender import Sender
from .sources import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .remembered import Claim

_IN_FLIGHT: Final = 400
"""How many files may be sent or waited for at the same time; each has a file open."""
_FURTHER_CONNECTIONS: Final = 8
"""For the stream of events, and for questions about files that are waited for."""


@dataclass(slots=True)
class Result:
    """What became of one file."""

    file: str
    size_bytes: int = 0
    upload: str = ""
    """The upload's ID; "" when it was not sent whole."""
    phase: str = ""
    """The upload's phase as far as we know: `processing` once it is sent; "" when it was not."""
    reason: str = ""
    """Why it was rejected or removed."""
    signature: str = ""
    """What the virus scanner found in it."""
    error: str = ""
    """Why it was not sent, or why we don't know what became of it."""


class Board(Protocol):
    """Where the people who wait see how it goes; names files by their place in the list."""

    def began(self, place: int, shown: str, size_bytes: int) -> None:
        """A file is being sent."""

    def moved(self, place: int, offset: int) -> None:
        """So many bytes of it are on the server."""

    def told(self, place: int, text: str) -> None:
        """What happens to it now."""

    def troubled(self, place: int, shown: str, reason: str) -> None:
        """It does not work for now, and will be tried again."""

    def ended(self, place: int, result: Result) -> None:
        """There is nothing more to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do with files; `penstock upload --help` explains each part."""

    url: str
    space: str
    parallel: int
    patience: timedelta
    wait: bool
    memory: Memory
    clock: Clock
    continued: str = ""
    """The upload that the one file is to be the rest of, by its address; "": one is begun, or remembered."""

    async def run(self, sources: Sequence[Source], board: Board) -> list[Result]:
        """Send the files, and wait for their outcomes if that is wanted. Return a result for each, in order.

        Raises:
            ServerAway: there is no server to begin with. Later, it is waited for.
            Refused: what is there is no server of ours.
        """
        async with AsyncExitStack() as stack:
            limits = httpx.Limits(max_connections=self.parallel + _FURTHER_CONNECTIONS)
            client = await stack.enter_async_context(
                httpx.AsyncClient(limits=limits, trust_env=goes_far(self.url), verify=trusted_by(self.url))
            )
            await self._greet(client)
            sender = Sender(client, self.url, space=self.space, patience=self.patience, clock=self.clock)
            follower = Follower(client, self.url, patience=self.patience, clock=self.clock)
            if self.wait:
                await stack.enter_async_context(follower.listening())
            places, in_flight = asyncio.Semaphore(self.parallel), asyncio.Semaphore(_IN_FLIGHT)
            results = [Result(source.shown) for source in sources]
            async with asyncio.TaskGroup() as group:
                for place, (source, result) in enumerate(zip(sources, results, strict=True)):
                    await in_flight.acquire()
                    one = _One(self, sender, follower, places, source, result, board, place)
                    group.create_task(one.run()).add_done_callback(lambda _: in_flight.release())
            return results

    async def _greet(self, client: httpx.AsyncClient) -> None:
        try:
            answer = await client.get(f"{self.url}{PREFIX}/info", timeout=30.0)
        except httpx.TransportError as error:
            raise away(self.url, error) from error
        document(self.url, answer)


@dataclass(frozen=True, slots=True)
class _One:
    """The way of one file."""

    job: Job
    sender: Sender
    follower: Follower
    places: asyncio.Semaphore
    source: Source
    result: Result
    board: Board
    place: int

    async def run(self) -> None:
        """Go the whole way, and write into the result how it went."""
        with ExitStack() as stack:
            try:
                async with self.places:
                    claim = await self._send(stack)
                if self.job.wait:
                    await self._wait()
                claim.forget()
            except NotFound as error:
                self.result.phase, self.result.error = "", str(error)
            except PenstockError as error:
                self.result.error = str(error)
            finally:
                self.board.ended(self.place, self.result)

    async def _send(self, stack: ExitStack) -> Claim:
        self.result.size_bytes = self.source.fingerprint().size_bytes
        self.board.began(self.place, self.source.shown, self.result.size_bytes)
        claim = stack.enter_context(self.job.memory.claim(self.source, space=self.job.space))
        if self.job.continued:
            claim.note(self.source, self.source.fingerprint(), self.job.continued)
        self.result.upload = await self.sender.send(
            self.source,
            claim,
            moved=lambda offset: self.board.moved(self.place, offset),
            troubled=self._troubled,
        )
        self.result.phase = "processing"
        return claim

    async def _wait(self) -> None:
        view = await self.follower.outcome(
            self.result.upload,
            self.source.shown,
            heard=lambda text: self.board.told(self.place, text),
            troubled=self._troubled,
        )
        self.result.phase = view["phase"]
        self.result.reason = view["reason"]
        self.result.signature = (view["scan"] or {}).get("signature", "")

    def _troubled(self, reason: str) -> None:
        self.board.troubled(self.place, self.source.shown, reason)
