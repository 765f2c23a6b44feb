"""Finds what others have written: records of Go services, which know nothing of an index."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ..layout import BadRecord
from . import scripts
from .entries import Filing, Keys, decode, filing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...clock import Clock
    from .server import Server

log = structlog.get_logger(__name__)

_KEYS_AT_ONCE: Final = 200
"""Keys that are looked at in one call: a millisecond or two of the server, which does nothing else meanwhile."""
_CHEAP: Final = timedelta(milliseconds=100)
"""A look at all keys that takes no longer may be taken each time."""
_SHARE: Final = 20
"""One that takes longer is repeated after this many times its duration: it takes 5 % of the time at most."""


class Finder:
    """Compares the index with the keys of the database, and files what is not filed as it is.

    Whatever else is in the database, such as the caches of other services, is passed over: a record is a string under
    the upload's own ID that begins as the Go services begin one.
    """

    def __init__(self, server: Server, keys: Keys, clock: Clock) -> None:
        self._server = server
        self._keys = keys
        self._clock = clock
        self._not_before = 0.0

    async def find_now_and_then(self) -> None:
        """Look at all keys, unless that takes long and was done lately: a database may hold millions for others."""
        if self._clock.monotonic() >= self._not_before:
            await self.find()

    async def find(self) -> None:
        """Look at all keys, and file what is not filed as it is."""
        began = self._clock.monotonic()
        filed, cursor = 0, b"0"
        while True:
            cursor, *changed = await self._server.read(
                scripts.CHANGED, [], self._keys.prefix, self._keys.table, cursor, self._keys.pattern, _KEYS_AT_ONCE
            )
            pairs = iter(changed)
            right = {upload: _filing(upload, value) for upload, value in zip(pairs, pairs, strict=True)}
            found = {upload: filing for upload, filing in right.items() if filing}
            await self.refile(found)
            filed += len(found)
            if cursor == b"0":
                break
        if filed:
            log.info("records_of_others_found", server=self._server.name, records=filed)
        ended = self._clock.monotonic()
        took = ended - began
        self._not_before = ended if took <= _CHEAP.total_seconds() else ended + _SHARE * took

    async def refile(self, wrong: Mapping[bytes, Filing]) -> None:
        """File records as what they are, and take out those that are gone."""
        if wrong:
            keys = [self._keys.record(upload) for upload in wrong]
            flat = [word for upload, right in wrong.items() for word in (upload, *right)]
            await self._server.read(scripts.REFILE, keys, self._keys.prefix, *flat)


def _filing(upload: bytes, value: bytes) -> Filing | None:
    """Return how what others have written is to be filed; None when it is nothing for us."""
    try:
        return filing(decode(upload.decode(), value).progress, value)
    except (BadRecord, UnicodeDecodeError):
        return None
