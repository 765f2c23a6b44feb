"""A store of progress on a stream, whatever the layout of its records."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

import structlog

from ...clock import SystemClock
from ...jetstream import NatsUnavailable, connect
from .. import layout
from ..base import ProgressStore, Revision, Saved, StoreUnavailable
from .answers import Answers
from .bucket import Bucket, checked_name
from .follower import Follower
from .index import Index
from .markers import Markers
from .passing import pass_through, read_through
from .records import decode, noted, tell_unreadable
from .requests import Requests
from .stream import keeps_conditions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from ...clock import Clock
    from ...core.progress import Progress
    from ...jetstream import NatsServers
    from ..target import StoreTarget

log = structlog.get_logger(__name__)

TIMEOUT: Final = timedelta(seconds=5)
"""How long an answer of the server is waited for."""
PATIENCE: Final = timedelta(seconds=8)
"""How long the first connection is waited for."""
_TOO_OLD: Final = "before 2.9.21, nats-server lets two instances change a record of a replicated bucket at once"
_PAUSE_SECONDS: Final = 0.5
_AT_ONCE: Final = 256
"""Records that are asked for at once."""
_LOOKS: Final = 10
"""How often to look again when the index turns out to be wrong about what is due."""
_FEW: Final = 4
"""Up to this part of all records, those of a step are read one by one, else by reading all."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What there is while the store is open."""

    bucket: Bucket
    answers: Answers
    index: Index
    markers: Markers
    follower: Follower


class StreamStore(ProgressStore):
    """Single records are read from and written to the stream; what is due or in a step is known from an index."""

    def __init__(
        self,
        target: StoreTarget,
        *,
        servers: NatsServers,
        clock: Clock | None = None,
        timeout: timedelta = TIMEOUT,
        patience: timedelta = PATIENCE,
        indexed: bool = True,
    ) -> None:
        """Name the bucket; nothing is connected yet.

        Args:
            target: which bucket and table; where a bucket has to be made, how long it keeps records, and where.
            servers: the nodes of `target`.
            clock: for the pauses between looks at what others have written.
            timeout: how long to wait for an answer of the server.
            patience: how long to wait for the first connection.
            indexed: whether to read the bucket at once and follow it; who lists once and goes does without.

        Raises:
            ConfigurationError: the database is no name for a bucket.
        """
        checked_name(target.database)
        self._target = target
        self._servers = servers
        self._clock = clock or SystemClock()
        self._timeout = timeout
        self._patience = patience
        self._indexed = indexed
        self._open: _Parts | None = None
        self._context = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect, make the bucket if it is missing, and read all of it.

        Raises:
            ConfigurationError: the servers refuse us.
            StoreUnavailable: they cannot be reached, or have no JetStream for us.
        """
        async with AsyncExitStack() as context:
            try:
                client = await context.enter_async_context(
                    connect(self._servers, name="penstock store", patience=self._patience)
                )
            except NatsUnavailable as error:
                raise StoreUnavailable(str(error)) from error
            requests = await context.enter_async_context(Requests(client, timeout=self._timeout))
            parts = self._make_parts(requests)
            info = await parts.bucket.stream.open()
            parts.markers.allowed = not info.config.deny_purge
            if not keeps_conditions(client.server_version, info):
                log.warning("store_may_lose_changes", stream=parts.bucket.stream.name, hint=_TOO_OLD)
            context.push_async_callback(parts.follower.close)
            if self._indexed:
                await parts.follower.catch_up()
                await context.enter_async_context(_running(parts.follower))
            self._open = parts
            self._context = context.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._open = None
        await self._context.aclose()

    @abstractmethod
    def _make_bucket(self, requests: Requests) -> Bucket:
        """Return the bucket for a connection: what each of these stores has of its own."""

    def _make_parts(self, requests: Requests) -> _Parts:
        bucket, index = self._make_bucket(requests), Index()
        answers = Answers(requests, self._target.database, persistent=self._target.persistent)
        markers = Markers(bucket.stream, self._clock)
        follower = Follower(bucket, index, markers, decode=decode, clock=self._clock)
        return _Parts(bucket, answers, index, markers, follower)

    @property
    def _parts(self) -> _Parts:
        if self._open is None:
            raise StoreUnavailable("the store is not open")
        return self._open

    @property
    def has_made(self) -> bool:
        """Whether there was no bucket, and it was made."""
        return self._parts.bucket.stream.made > 0

    async def get(self, upload_id: str) -> Saved | None:
        """Return one record, or None, as the leader of the stream has it."""
        parts = self._parts
        known = parts.index.seq_of(upload_id)
        found = await parts.bucket.read(upload_id)
        if found is None:
            parts.index.forget(upload_id, known)
            return None
        progress = parts.follower.note(found)
        return None if progress is None else Saved(progress, Revision(found.seq))

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Saved]:
        """Return the records that exist; each is a question of its own, many are asked at once."""
        found: dict[str, Saved] = {}
        ids = iter(dict.fromkeys(upload_ids))
        while batch := list(islice(ids, _AT_ONCE)):
            answers = await asyncio.gather(*map(self._readable, batch))
            found |= {saved.progress.upload_id: saved for saved in answers if saved is not None}
        return found

    async def _readable(self, upload_id: str) -> Saved | None:
        try:
            return await self.get(upload_id)
        except layout.BadRecord as error:
            tell_unreadable(upload_id, error)
            return None

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Write a version after the one that was read."""
        parts = self._parts
        seq = await parts.bucket.write(progress.upload_id, layout.encode(progress), expected=expected)
        parts.index.put(progress, seq)
        parts.index.wrote(seq)
        return Revision(seq)

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Write a marker after the version that was read; it is taken away later."""
        parts = self._parts
        seq = await parts.bucket.remove(upload_id, expected=expected)
        if seq is not None:
            parts.index.remove(upload_id, seq)
            parts.index.wrote(seq)
            parts.markers.offer(parts.bucket.subject_of(upload_id), seq)

    async def due(self, now: datetime, *, limit: int) -> list[Saved]:
        """Return what is due, the longest due first; each was read just now."""
        index, found = (await self._known()).index, list[Saved]()
        for _ in range(_LOOKS):
            ids = index.due(now, limit)
            versions = [index.seq_of(upload_id) for upload_id in ids]
            found = list((await self.get_many(ids)).values())
            # Reading has corrected the index. When it was right, this is the answer.
            if [saved.revision for saved in found] == versions:
                break
        return [saved for saved in found if (at := saved.progress.due_at) is not None and at <= now]

    async def next_due(self) -> datetime | None:
        """Return the earliest timer, as far as this instance knows."""
        return (await self._known()).index.next_due()

    def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield the records of a step: one by one where they are few, else by reading the whole bucket."""
        return self._walk(step)

    def all(self) -> AsyncIterator[Saved]:
        """Yield all records, by reading the whole bucket, a page at a time."""
        return self._walk(None)

    async def count_by_step(self) -> dict[str, int]:
        """Return the numbers from the index, once it knows of everything."""
        parts = self._parts
        await parts.follower.catch_up()
        return parts.index.counts()

    async def _known(self) -> _Parts:
        """Return the parts, with an index that is up to date, or is kept so."""
        parts = self._parts
        if not self._indexed:
            await parts.follower.catch_up()
        return parts

    async def remember_answer(self, step: str, at: datetime) -> None:
        """Note an answer."""
        await self._parts.answers.note(step, at)

    async def answered(self) -> dict[str, datetime]:
        """Return the noted answers."""
        return await self._parts.answers.all()

    def _walk(self, step: str | None) -> AsyncIterator[Saved]:
        parts = self._parts
        if self._indexed:
            return self._walk_by_index(parts, step)
        return pass_through(
            parts.bucket,
            read=partial(noted, parts.follower),
            wanted=lambda saved: step is None or saved.progress.status.current_step == step,
        )

    async def _walk_by_index(self, parts: _Parts, step: str | None) -> AsyncIterator[Saved]:
        await parts.follower.catch_up()
        left = set(parts.index.ids() if step is None else parts.index.ids_in_step(step))
        if len(left) * _FEW > len(parts.index):
            through = read_through(parts.bucket, parts.index, left, read=partial(noted, parts.follower))
            async with aclosing(through):
                async for saved in through:
                    if step is None or saved.progress.status.current_step == step:
                        yield saved
        # Those that were few, and those that were written again while we were on the way.
        remaining = iter(left)
        while batch := list(islice(remaining, _AT_ONCE)):
            for saved in (await self.get_many(batch)).values():
                if step is None or saved.progress.status.current_step == step:
                    yield saved


@asynccontextmanager
async def _running(follower: Follower) -> AsyncIterator[None]:
    """Follow while the context is open."""
    task = asyncio.create_task(follower.run(), name="store-follower")
    try:
        yield
    finally:
        while not task.done():  # nats-py may swallow a cancellation
            task.cancel()
            await asyncio.wait({task}, timeout=_PAUSE_SECONDS)
