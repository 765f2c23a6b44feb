"""Goes through all records, a page at a time, in the order of their keys. Nothing is held open in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from .. import layout
from ..ahead import ahead
from . import keys, wire
from .reading import read_many, readable, saved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from ..base import Saved
    from .client import EtcdClient
    from .wire import KeyValue, Range

T = TypeVar("T")

_RECORDS_AT_ONCE: Final = 250
"""About 1 MiB: etcd's answers are limited to 4 MiB, and wrap each record twice in base64."""
_KEYS_AT_ONCE: Final = 4000
"""Some 300 KiB, without values. Each such question costs etcd a look at every key up to the end of the range, whatever
the limit (so it is up to 3.6), which makes a walk of many short pages take as long as all records squared."""
_FORGOTTEN_AT_ONCE: Final = 100
"""Operations in one transaction; etcd's own limit is 128."""


class _Noted(NamedTuple):
    """A record's key, with the step that a valid note of ours names."""

    key: bytes
    step: str | None
    """None if the record has to be read to know."""


async def all_records(client: EtcdClient) -> AsyncIterator[Saved]:
    """Yield every record: from ranges that are known to be short."""
    async for page in ahead(_short_pages(client)):
        for one in readable(page):
            yield one


async def _short_pages(client: EtcdClient) -> AsyncIterator[list[KeyValue]]:
    async for found in _pages(client, limit=_KEYS_AT_ONCE, keys_only=True):
        async for page in _by_stretches(found, lambda some: _between(client, some[0].key, some[-1].key)):
            yield page


async def _by_stretches(
    found: Sequence[T], read: Callable[[Sequence[T]], Awaitable[list[KeyValue]]]
) -> AsyncIterator[list[KeyValue]]:
    """Have what was found read, stretch by stretch, and two of them at a time: to answer takes longer than to ask."""
    for first in range(0, len(found), 2 * _RECORDS_AT_ONCE):
        both = (found[start : start + _RECORDS_AT_ONCE] for start in (first, first + _RECORDS_AT_ONCE))
        for page in await asyncio.gather(*(read(some) for some in both if some)):
            yield page


async def _between(client: EtcdClient, first: bytes, last: bytes) -> list[KeyValue]:
    return [stored async for page in _pages(client, first, keys.after(last)) for stored in page]


async def records_in(client: EtcdClient, step: str) -> AsyncIterator[Saved]:
    """Yield the records of a step; of the others, only those are read that a Go service has written."""
    async for page in ahead(_pages_of(client, step)):
        for one in readable(page):
            if one.progress.status.current_step == step:
                yield one


async def _pages_of(client: EtcdClient, step: str) -> AsyncIterator[list[KeyValue]]:
    def read(some: Sequence[_Noted]) -> Awaitable[list[KeyValue]]:
        return _read(client, some, [noted.key for noted in some if noted.step in (step, None)])

    async for found in _noted(client):
        async for page in _by_stretches(found, read):
            yield page


async def count_steps(client: EtcdClient) -> dict[str, int]:
    """Count the records of each step, from the notes as far as there are any."""
    counts = Counter[str]()
    async for page in _noted(client):
        counts.update(noted.step for noted in page if noted.step is not None)
        async for stored in read_many(client, [noted.key for noted in page if noted.step is None]):
            try:
                counts[saved(stored).progress.status.current_step] += 1
            except layout.BadRecord:  # lists tell of it
                continue
    return dict(counts)


async def _read(client: EtcdClient, neighbours: Sequence[_Noted], wanted: list[bytes]) -> list[KeyValue]:
    """Read the keys `wanted` of `neighbours`: all from the first to the last at once, unless most of it is for nothing.

    etcd needs three times as long for keys that are asked for one by one.
    """
    if len(wanted) * 3 < len(neighbours):
        return [stored async for stored in read_many(client, wanted)]
    chosen = set(wanted)
    return [stored for stored in await _between(client, wanted[0], wanted[-1]) if stored.key in chosen]


async def _pages(
    client: EtcdClient,
    start: bytes = keys.RECORDS,
    end: bytes = keys.after_all(keys.RECORDS),
    *,
    limit: int = _RECORDS_AT_ONCE,
    keys_only: bool = False,
) -> AsyncIterator[tuple[KeyValue, ...]]:
    more = True
    while more:
        page = await client.range(start, end, limit=limit, keys_only=keys_only)
        if page.kvs:
            start = keys.after(page.kvs[-1].key)
            yield page.kvs
        more = page.more


async def _noted(client: EtcdClient) -> AsyncIterator[list[_Noted]]:
    """Yield the keys of all records beside the notes of their steps, and remove notes of records that are gone."""
    after, more = b"", True  # in terms of the upload's ID
    while more:
        records, notes = await client.read(
            wire.get_range(keys.RECORDS + after, keys.after_all(keys.RECORDS), limit=_KEYS_AT_ONCE, keys_only=True),
            wire.get_range(keys.STEPS + after, keys.after_all(keys.STEPS), limit=_KEYS_AT_ONCE),
        )
        revisions = _by_upload(records, keys.RECORDS)
        steps = _by_upload(notes, keys.STEPS)
        # Both say all about the IDs up to the nearer end.
        ends = [max(found) for found, cut in ((revisions, records.more), (steps, notes.more)) if cut]
        end = min(ends, default=None)
        yield [_compare(key, steps.get(upload)) for upload, key in revisions.items() if end is None or upload <= end]
        await _forget(client, [note for upload, note in steps.items() if _is_left_over(upload, revisions, end)])
        more = end is not None
        after = keys.after(end) if end is not None else b""


def _by_upload(found: Range, prefix: bytes) -> dict[bytes, KeyValue]:
    return {stored.key[len(prefix) :]: stored for stored in found.kvs}


def _compare(record: KeyValue, note: KeyValue | None) -> _Noted:
    """Take the note for true if the same transaction has written both."""
    is_valid = note is not None and note.mod_revision == record.mod_revision
    return _Noted(record.key, note.value.decode() if note is not None and is_valid else None)


def _is_left_over(upload: bytes, records: Mapping[bytes, KeyValue], end: bytes | None) -> bool:
    return upload not in records and (end is None or upload <= end)


async def _forget(client: EtcdClient, notes: list[KeyValue]) -> None:
    """Remove the notes of records that a Go service has removed, unless somebody has changed one since."""
    for start in range(0, len(notes), _FORGOTTEN_AT_ONCE):
        some = notes[start : start + _FORGOTTEN_AT_ONCE]
        await client.write(
            [wire.unchanged(note.key, note.mod_revision) for note in some], [wire.delete(note.key) for note in some]
        )
