"""Walks through a whole stream."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from ..ahead import ahead
from .reader import Reader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ..base import Saved
    from .bucket import Bucket, Found
    from .index import Index

_ROUNDS: Final = 20
"""Each reads what was written during the one before, so from the second on they take some milliseconds."""


async def pass_through(
    bucket: Bucket, *, read: Callable[[Found], Saved | None], wanted: Callable[[Saved], bool]
) -> AsyncGenerator[Saved, None]:
    """Yield the wanted records, each once, for who keeps no index: it is read once, not twice to fill an index first.

    A record that is written again while we are on the way moves to the end of the stream, and is met there: in the
    next round, if it was written since this one began. Only one that moves in each round is never met.
    """
    reader, interpreter, seen = Reader(bucket.stream), bucket.interpreter(), set[str]()
    try:
        for _ in range(_ROUNDS):
            begun_at = reader.position
            async with aclosing(reader.pages()) as pages, aclosing(ahead(pages)) as coming:
                async for page in coming:
                    for message in page:
                        found = interpreter(message)
                        if found is not None and found.elsewhere and found.upload_id not in seen:
                            found = await bucket.read(found.upload_id)
                        if found is None or found.upload_id in seen:
                            continue
                        saved = read(found)
                        if saved is not None and wanted(saved):
                            seen.add(found.upload_id)
                            yield saved
            if reader.position == begun_at:
                return
    finally:
        await reader.close()


async def read_through(
    bucket: Bucket, index: Index, wanted: set[str], *, read: Callable[[Found], Saved | None]
) -> AsyncGenerator[Saved, None]:
    """Yield the wanted records that are met, each once, and take them out of `wanted`.

    Of what is written again while we are on the way, nothing may be met. Where a former version lies beside the latest,
    as it does for a moment, or for longer after a kill, the index knows better.
    """
    reader, interpreter = Reader(bucket.stream), bucket.interpreter()
    try:
        async with aclosing(reader.pages()) as pages, aclosing(ahead(pages)) as coming:
            async for page in coming:
                for message in page:
                    found = interpreter(message)
                    if found is None or found.elsewhere or index.seq_of(found.upload_id) > found.seq:
                        continue
                    saved = read(found)
                    if found.data is not None and found.upload_id in wanted:
                        wanted.discard(found.upload_id)
                        if saved is not None:
                            yield saved
    finally:
        await reader.close()
