"""Turns what is stored under the keys of records into records."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import structlog

from .. import layout
from ..base import Revision, Saved
from . import keys, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from .client import EtcdClient
    from .wire import KeyValue

log = structlog.get_logger(__name__)

_OPERATIONS: Final = 100
"""At most so many in one transaction; etcd's own limit is 128, unless somebody has changed it."""


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
        for found in await client.read(*(wire.get(key) for key in some)):
            for stored in found.kvs:
                yield stored
