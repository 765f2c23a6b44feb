"""A walk through a stream for who keeps no index: a command reads it once, instead of twice to fill an index first."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from ..ahead import ahead
from .reader import Reader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ..base import Saved
    from .bucket import Bucket, Found

_ROUNDS: Final = 20
"""Each reads what was written during the one before, so from the second on they take some milliseconds."""


async def pass_through(
    bucket: Bucket, *, read: Callable[[Found], Saved | None], wanted: Callable[[Saved], bool]
) -> AsyncGenerator[Saved, None]:
    """Yield the wanted records, each once.

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
