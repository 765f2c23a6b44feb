"""Records in etcd, shared with Go services and by any number of instances.

Needs etcd 3.4 or newer, with its JSON interface (`--enable-grpc-gateway`, on by default), and permission to read and
write keys that begin with `//.prefix/`, `//.suffix/` and `/penstock/`. Leaves behind when steps were last answered.
etcd keeps every former state of a key until it is compacted: switch on `--auto-compaction-retention`.

etcd has no tables. What is due is found by keys that begin with the time; what is in a step, by a note of a few bytes
for each record. Records that a Go service has written have neither: they are found by comparing the keys of all
records with the notes, and read.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

import structlog

from ...db.instants import from_microseconds, to_microseconds
from ...errors import ConfigurationError
from ..base import ProgressStore, Revision, RevisionConflict, Saved
from . import keys, wire
from .client import EtcdClient, EtcdRefused
from .listing import all_records, count_steps, records_in
from .nodes import login_of, tls_of, urls_of
from .reading import read_many, readable, saved
from .timers import due_records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from ...core.progress import Progress
    from ..target import StoreTarget

log = structlog.get_logger(__name__)

_TIMEOUT: Final = timedelta(seconds=10)
"""As the Go services wait."""
_TIMERS_KNOWN: Final = 20_000
"""Records whose timers are remembered, so that the key of the former timer goes when the record changes."""
_LOOK_AHEAD: Final = 4
"""Timers that are read to find the next one; the first of them counts, but where a Go service was at work."""
_ANSWERS_AT_ONCE: Final = 1000


class EtcdStore(ProgressStore):
    """The keys of one cluster.

    Args:
        target: the nodes are `host:port` or URLs; database, table and TTL do not count.
        timeout: limit for each call.

    Raises:
        ConfigurationError: a node is no address, or the file with the authorities cannot be read.
    """

    def __init__(self, target: StoreTarget, *, timeout: timedelta = _TIMEOUT) -> None:
        username, password = login_of(target)
        self._client = EtcdClient(
            urls_of(target),
            tls=tls_of(target),
            username=username,
            password=password,
            timeout=timeout,
        )
        self._ttl = target.ttl
        self._timers: dict[str, tuple[int, bytes | None]] = {}
        """The revision of a record that this instance has seen last, and the key of its timer then."""

    async def __aenter__(self) -> Self:
        """Connect, and look whether reading is allowed.

        Raises:
            StoreUnavailable: no node answers.
            ConfigurationError: the login is wrong, or may not read the records.
        """
        if self._ttl is not None:
            log.warning("store_ttl_ignored", store="etcd", why="records stay until their uploads are done")
        await self._client.__aenter__()
        try:
            await self._client.range(keys.RECORDS, keys.after_all(keys.RECORDS), limit=1, keys_only=True)
            await self._client.range(keys.TIMERS, keys.after_all(keys.TIMERS), limit=1, keys_only=True)
        except EtcdRefused as error:
            await self._client.__aexit__()
            raise ConfigurationError(f"{error}. Check the store's user, its password and its permissions.") from error
        except BaseException:
            await self._client.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect."""
        await self._client.__aexit__()

    async def get(self, upload_id: str) -> Saved | None:
        """Return one record, or None."""
        key = keys.record_key(upload_id)
        found = await self._client.range(key, keys.after(key), limit=1)
        return self._seen(saved(found.kvs[0])) if found.kvs else None

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Saved]:
        """Return the records that exist."""
        wanted = map(keys.record_key, dict.fromkeys(upload_ids))
        found = [stored async for stored in read_many(self._client, wanted)]
        return {one.progress.upload_id: self._seen(one) for one in readable(found)}

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Write both copies of a record, the note of its step and its timer, or nothing."""
        upload_id, value = progress.upload_id, keys.wrap(progress)
        timer, former = _timer_of(progress), self._known_timer(upload_id, expected)
        changes = [
            wire.put(keys.record_key(upload_id), value),
            wire.put(keys.backwards_key(upload_id), value),
            wire.put(keys.step_key(upload_id), progress.status.current_step.encode()),
        ]
        if timer is not None:
            changes.append(wire.put(timer, b""))
        if former is not None and former != timer:
            changes.append(wire.delete(former))
        done = await self._client.write([wire.unchanged(keys.record_key(upload_id), expected or 0)], changes)
        if not done.succeeded:
            raise RevisionConflict(upload_id)
        revision = Revision(done.header.revision)
        self._seen(Saved(progress, revision))
        return revision

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Remove all keys of a record."""
        key, timer = keys.record_key(upload_id), self._known_timer(upload_id, expected)
        changes = [wire.delete(one) for one in (key, keys.backwards_key(upload_id), keys.step_key(upload_id))]
        if timer is not None:
            changes.append(wire.delete(timer))
        done = await self._client.write([wire.unchanged(key, expected)], changes, [wire.get(key, keys_only=True)])
        if not done.succeeded and any(found.kvs for found in done.ranges):
            raise RevisionConflict(upload_id)

    async def due(self, now: datetime, *, limit: int) -> list[Saved]:
        """Return what is due, the longest due first."""
        found: list[Saved] = []
        async for one in due_records(self._client, before=to_microseconds(now) + 1, page=limit):
            found.append(self._seen(one))
            if len(found) == limit:
                break
        return found

    async def next_due(self) -> datetime | None:
        """Return the earliest timer that still counts."""
        async for one in due_records(self._client, before=None, page=_LOOK_AHEAD):
            return one.progress.due_at
        return None

    def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield the records of a step, a page at a time."""
        return records_in(self._client, step)

    def all(self) -> AsyncIterator[Saved]:
        """Yield all records, a page at a time."""
        return all_records(self._client)

    async def count_by_step(self) -> dict[str, int]:
        """Count the records of each step, from the notes."""
        return await count_steps(self._client)

    async def remember_answer(self, step: str, at: datetime) -> None:
        """Note an answer."""
        await self._client.write([], [wire.put(keys.answer_key(step), str(to_microseconds(at)).encode())])

    async def answered(self) -> dict[str, datetime]:
        """Return the noted answers."""
        answers: dict[str, datetime] = {}
        start, more = keys.ANSWERS, True
        while more:
            page = await self._client.range(start, keys.after_all(keys.ANSWERS), limit=_ANSWERS_AT_ONCE)
            for stored in page.kvs:
                start = keys.after(stored.key)
                answers[stored.key[len(keys.ANSWERS) :].decode()] = from_microseconds(int(stored.value))
            more = page.more
        return answers

    def _seen(self, one: Saved) -> Saved:
        """Remember the timer of a record, in the place of the one that was seen the longest ago."""
        self._timers.pop(one.progress.upload_id, None)
        self._timers[one.progress.upload_id] = (one.revision, _timer_of(one.progress))
        if len(self._timers) > _TIMERS_KNOWN:
            del self._timers[next(iter(self._timers))]
        return one

    def _known_timer(self, upload_id: str, revision: Revision | None) -> bytes | None:
        """Return the key of the timer that a record has had, if it is known; otherwise it is removed when it ends."""
        known_revision, timer = self._timers.pop(upload_id, (None, None))
        return timer if known_revision == revision else None


def _timer_of(progress: Progress) -> bytes | None:
    due_at = to_microseconds(progress.due_at)
    return None if due_at is None else keys.timer_key(due_at, progress.upload_id)
