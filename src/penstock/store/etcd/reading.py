"""Turns what is stored under the keys of records into records."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import structlog

from .. import layout
from ..base import RecordRefused, Revision, Saved
from . import keys, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from .client import EtcdClient
    from .stretches import Stretch
    from .wire import KeyValue

log = structlog.get_logger(__name__)

_OPERATIONS: Final = 100
"""At most so many in one transaction; etcd's own limit is 128, unless somebody has changed it."""
_FIRST_PAGE: Final = 250
_LARGEST_PAGE: Final = 500
"""Records. In pages of half as many, each costs etcd a sixth more."""
_PAGE_BYTES: Final = 2**20
"""Of records, as they are stored. A usual one has 1.5 KiB."""


def saved(stored: KeyValue) -> Saved:
    """Decode one record.

    Raises:
        layout.BadRecord: it is none.
    """
    return Saved(keys.unwrap(stored.key, stored.value), Revision(stored.mod_revision))


def readable(found: Iterable[KeyValue]) -> Iterator[Saved]:
    """Decode records, without those that cannot be: one broken record must not hide the others."""
    for stored in found:
        try:
            yield saved(stored)
        except layout.BadRecord as error:
            upload = stored.key[len(keys.RECORDS) :].decode(errors="replace")
            log.error("record_unreadable", upload=upload, error=str(error))  # noqa: TRY400  # says all there is


async def read_many(client: EtcdClient, wanted: Iterable[bytes]) -> AsyncIterator[KeyValue]:
    """Read those of the keys `wanted` that exist, many at a time."""
    remaining = iter(wanted)
    while some := list(islice(remaining, _OPERATIONS)):
        for stored in await _read(client, some):
            yield stored


async def _read(client: EtcdClient, some: Sequence[bytes]) -> list[KeyValue]:
    """Read some keys in one transaction, or in several where the answer is too long for one."""
    try:
        return [stored for found in await client.read(*map(wire.get, some)) for stored in found.kvs]
    except RecordRefused:
        if len(some) == 1:
            raise
        half = len(some) // 2
        return await _read(client, some[:half]) + await _read(client, some[half:])


async def pages_of(client: EtcdClient, some: Iterable[Stretch]) -> AsyncIterator[Sequence[KeyValue]]:
    """Read all records of some stretches, in pages of about a MiB: etcd's answers are limited to four."""
    limit = _FIRST_PAGE
    for stretch in some:
        (start, end), more = stretch.keys_with(keys.RECORDS), True
        while more:
            try:
                page = await client.range(start, end, limit=limit)
            except RecordRefused:  # these are much longer than those before
                if limit == 1:
                    raise
                limit //= 2
                continue
            if page.kvs:
                start = keys.after(page.kvs[-1].key)
                yield page.kvs
                size = sum(len(stored.value) for stored in page.kvs)
                limit = max(1, min(_LARGEST_PAGE, len(page.kvs) * _PAGE_BYTES // max(1, size)))
            more = page.more
