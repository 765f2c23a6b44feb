"""Finds what is due, by keys that begin with the time.

The key of a timer outlives its record where a Go service has rewritten or removed that, and now and then where an
instance did not know the record's former timer. Such a key is recognised when its time comes, and removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import keys, wire
from .reading import read_many, readable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..base import Saved
    from .client import EtcdClient
    from .wire import KeyValue

_AT_ONCE: Final = 100
"""Timers that are looked at together; also the operations in one transaction, of which etcd allows 128."""


async def due_records(client: EtcdClient, *, before: int | None, page: int) -> AsyncIterator[Saved]:
    """Yield the records that are due before a time in microseconds (None: ever), the longest due first.

    They are read `page` at a time.
    """
    start, more = keys.TIMERS, True
    end = keys.after_all(keys.TIMERS) if before is None else keys.due_before(before)
    while more:
        timers = await client.range(start, end, limit=min(page, _AT_ONCE), keys_only=True)
        if timers.kvs:
            start = keys.after(timers.kvs[-1].key)
            for saved in readable(await _current(client, timers.kvs)):
                yield saved
        more = timers.more


async def _current(client: EtcdClient, timers: Sequence[KeyValue]) -> list[KeyValue]:
    """Return the records whose timers these are, and remove the timers that are none's."""
    wanted = [keys.RECORDS + keys.upload_of_timer(timer.key) for timer in timers]
    records = {stored.key: stored async for stored in read_many(client, wanted)}
    current, void = [], []
    for timer, key in zip(timers, wanted, strict=True):
        record = records.get(key)
        if record is not None and record.mod_revision == timer.mod_revision:
            current.append(record)
        else:
            void.append(timer)
    if void:
        await client.write(
            [wire.unchanged(timer.key, timer.mod_revision) for timer in void], [wire.delete(one.key) for one in void]
        )
    return current
