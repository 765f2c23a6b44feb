"""What lies in a bucket below our prefix, under names that are ours. Errors are the library's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import obstore

from ...ids import is_upload_id
from ..inventory import Found, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from obstore import ObjectMeta
    from obstore.store import ObjectStore

_PAGE: Final = 500
_PROBE: Final = re.compile(r"penstock-check-[0-9a-f]{16}", re.ASCII)


async def objects(store: ObjectStore, prefix: str, place: str) -> AsyncGenerator[Sequence[Found], None]:
    """Yield the objects right below `prefix` (empty, or with a slash at its end); others have theirs elsewhere."""
    async for page in obstore.list(store, prefix.rstrip("/") or None, chunk_size=_PAGE):
        yield [found for one in page if (found := _found(one, prefix, place)) is not None]


async def remove_object(store: ObjectStore, found: Found) -> bool:
    """Remove an object unless it was written anew since it was found; return whether it is gone by our doing."""
    present = await obstore.head_async(store, found.key)
    if (present["size"], present["last_modified"]) != (found.size_bytes, found.changed_at):
        return False
    await obstore.delete_async(store, found.key)
    return True


def _found(meta: ObjectMeta, prefix: str, place: str) -> Found | None:
    key = meta["path"]
    if not key.startswith(prefix):
        return None
    name = key.removeprefix(prefix)
    if is_upload_id(name):
        return Found(Stage.RELEASED, name, meta["size"], meta["last_modified"], place, key)
    if _PROBE.fullmatch(name):
        return Found(Stage.PROBE, "", meta["size"], meta["last_modified"], place, key)
    return None
