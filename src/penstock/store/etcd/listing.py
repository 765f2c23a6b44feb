"""Goes through all records, a page at a time. Nothing is held open in between."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from .. import layout
from ..ahead import in_turns
from . import keys, wire
from .reading import pages_of, read_many, readable, saved
from .stretches import Stretch, stretches

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from ..base import Saved
    from .client import EtcdClient
    from .wire import KeyValue, Range

T = TypeVar("T")

_CHOSEN_AT_ONCE: Final = 300
_KEYS_AT_ONCE: Final = 4000
"""Some 300 KiB, without values."""
_AT_ONCE: Final = 2
"""Stretches that are read side by side."""
_ALIKE: Final = 4
"""So many stretches are read as a whole until it is looked again whether that is worth it."""
_FEW: Final = 3
"""Up to this part of a stretch, records are asked for one by one: for each, etcd needs so many times as long."""
_FORGOTTEN_AT_ONCE: Final = 100
"""Operations in one transaction; etcd's own limit is 128."""


class _Noted(NamedTuple):
    """A record's key, with the step that a valid note of ours names."""

    key: bytes
    step: str | None
    """None if the record has to be read to know."""


async def all_records(client: EtcdClient) -> AsyncIterator[Saved]:
    """Yield every record."""
    async with aclosing(_side_by_side(client, pages_of)) as walk:
        async for page in walk:
            for one in readable(page):
                yield one


async def records_in(client: EtcdClient, step: str) -> AsyncIterator[Saved]:
    """Yield the records of a step; where it is not that of many, few others are read than a Go service has written."""
    async with aclosing(_side_by_side(client, partial(_pages_with, step))) as walk:
        async for page in walk:
            for one in readable(page):
                if one.progress.status.current_step == step:
                    yield one


async def _side_by_side(
    client: EtcdClient, read: Callable[[EtcdClient, Sequence[Stretch]], AsyncIterator[T]]
) -> AsyncGenerator[T, None]:
    """Have all stretches read, several at a time: to answer takes longer than to ask."""
    found = [stretch async for stretch in stretches(client)]
    walks = [read(client, found[first::_AT_ONCE]) for first in range(min(_AT_ONCE, len(found)))]
    async with aclosing(in_turns(*walks)) as pages:
        async for page in pages:
            yield page


async def _pages_with(step: str, client: EtcdClient, some: Sequence[Stretch]) -> AsyncIterator[Sequence[KeyValue]]:
    """Yield what is in a step, and more: where the step is that of many, as most stretches are like the one before."""
    wanted: list[bytes] | None = []
    for number, stretch in enumerate(some):
        if wanted is not None or number % _ALIKE == 0:
            wanted = await _may_be_in(step, client, stretch)
        pages = pages_of(client, (stretch,)) if wanted is None else _chosen(client, wanted)
        async for page in pages:
            yield page


async def _may_be_in(step: str, client: EtcdClient, stretch: Stretch) -> list[bytes] | None:
    """Return the keys of the records that are in a step, or may be; None if it takes no longer to read all."""
    noted = [one async for page in _noted(client, stretch) for one in page]
    wanted = [one.key for one in noted if one.step in (step, None)]
    return wanted if len(wanted) * _FEW <= len(noted) else None


async def _chosen(client: EtcdClient, wanted: Sequence[bytes]) -> AsyncIterator[list[KeyValue]]:
    for start in range(0, len(wanted), _CHOSEN_AT_ONCE):
        yield [stored async for stored in read_many(client, wanted[start : start + _CHOSEN_AT_ONCE])]


async def count_steps(client: EtcdClient) -> dict[str, int]:
    """Count the records of each step, from the notes as far as there are any."""
    counts = Counter[str]()
    async for stretch in stretches(client):
        async for page in _noted(client, stretch):
            counts.update(noted.step for noted in page if noted.step is not None)
            async for stored in read_many(client, [noted.key for noted in page if noted.step is None]):
                try:
                    counts[saved(stored).progress.status.current_step] += 1
                except layout.BadRecord:  # lists tell of it
                    continue
    return dict(counts)


async def _noted(client: EtcdClient, stretch: Stretch) -> AsyncIterator[list[_Noted]]:
    """Yield the keys of a stretch's records beside the notes of their steps; remove notes of records that are gone."""
    more = True
    while more:
        records, notes = await client.read(
            wire.get_range(*stretch.keys_with(keys.RECORDS), limit=_KEYS_AT_ONCE, keys_only=True),
            wire.get_range(*stretch.keys_with(keys.STEPS), limit=_KEYS_AT_ONCE),
        )
        revisions = _by_upload(records, keys.RECORDS)
        steps = _by_upload(notes, keys.STEPS)
        # Both say all about the IDs up to the nearer end.
        ends = [max(found) for found, cut in ((revisions, records.more), (steps, notes.more)) if cut]
        end = min(ends, default=None)
        yield [_compare(key, steps.get(upload)) for upload, key in revisions.items() if end is None or upload <= end]
        await _forget(client, [note for upload, note in steps.items() if _is_left_over(upload, revisions, end)])
        more = end is not None
        stretch = Stretch(keys.after(end or b""), stretch.end)


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
