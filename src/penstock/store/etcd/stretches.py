"""Cuts the space of upload IDs into stretches that hold some thousand records each.

To answer a question for a page, etcd looks at every key from its beginning to the end of the range, whatever the limit
(so it is up to 3.6): a walk of many pages through one range takes as long as all records squared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from . import keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .client import EtcdClient

_RECORDS: Final = 8000
"""In a stretch at most. Of IDs that begin with a random digit, it takes 128,000 until there is a level more."""


class Stretch(NamedTuple):
    """Upload IDs from `start` to before `end`; None: to the last one."""

    start: bytes = b""
    end: bytes | None = None

    def keys_with(self, prefix: bytes) -> tuple[bytes, bytes]:
        """Return the first key of such IDs after a prefix, and what comes after their last."""
        return prefix + self.start, keys.after_all(prefix) if self.end is None else prefix + self.end


ALL: Final = Stretch()


async def stretches(client: EtcdClient, within: Stretch = ALL, depth: int = 0) -> AsyncIterator[Stretch]:
    """Yield stretches that cover `within` without a gap, in their order; the IDs in it agree in `depth` bytes."""
    while within.start != within.end:
        first = await client.range(*within.keys_with(keys.RECORDS), limit=1, keys_only=True)
        if first.count <= _RECORDS:
            yield within
            return
        upload = first.kvs[0].key[len(keys.RECORDS) :]
        middle = _end_of_branch(upload, depth, within.end)
        async for one in stretches(client, Stretch(within.start, middle), depth + 1):
            yield one
        if middle is None:
            return
        within = Stretch(middle, within.end)


def _end_of_branch(upload: bytes, depth: int, end: bytes | None) -> bytes | None:
    """Return what comes after all IDs that agree with `upload` in one byte more than `depth`."""
    if len(upload) <= depth:
        return keys.after(upload)
    return end if upload[depth] == 255 else keys.after_all(upload[: depth + 1])
