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


async def objects(
    store: ObjectStore, prefix: str, place: str, stage: Stage = Stage.RELEASED
) -> AsyncGenerator[Sequence[Found], None]:
    """Yield the objects right below `prefix` (empty, or with a slash at its end); others have theirs elsewhere.

    `stage` says what those are that have the name of an upload.
    """
    async for page in obstore.list(store, prefix.rstrip("/") or None, chunk_size=_PAGE):
        yield [found for one in page if (found := _found(one, prefix, place, stage)) is not None]


async def remove_object(store: ObjectStore, found: Found) -> bool:
    """Remove an object unless it was written anew since it was found; return whether it is gone by our doing."""
    present = await obstore.head_async(store, found.key)
    if (present["size"], present["last_modified"]) != (found.size_bytes, found.changed_at):
        return False
    await obstore.delete_async(store, found.key)
    return True


def _found(meta: ObjectMeta, prefix: str, place: str, stage: Stage = Stage.RELEASED) -> Found | None:
    key = meta["path"]
    if not key.startswith(prefix):
        return None
    name = key.removeprefix(prefix)
    if is_upload_id(name):
        return Found(stage, name, meta["size"], meta["last_modified"], place, key)
    if _PROBE.fullmatch(name):
        return Found(Stage.PROBE, "", meta["size"], meta["last_modified"], place, key)
    return None


async def folders(store: ObjectStore, prefix: str, place: str) -> AsyncGenerator[Sequence[Found], None]:
    """Yield what is staged in folders below `prefix`, each as one thing: as old as its newest object.

    Its size is that of all its objects, its key the folder's name. Objects are listed in the order of their names, so
    those of a folder come together.
    """
    folder: Found | None = None
    async for page in obstore.list(store, prefix.rstrip("/"), chunk_size=_PAGE):
        complete = list[Found]()
        for one in page:
            upload_id = one["path"].removeprefix(prefix).partition("/")[0]
            if folder is not None and folder.upload_id == upload_id:
                newest = max(folder.changed_at, one["last_modified"])
                folder = folder._replace(size_bytes=folder.size_bytes + one["size"], changed_at=newest)
            elif is_upload_id(upload_id):
                complete += [] if folder is None else [folder]
                folder = Found(Stage.STAGED, upload_id, one["size"], one["last_modified"], place, upload_id)
            elif (probe := _found(one, prefix, place)) is not None:
                complete.append(probe._replace(key=upload_id))
        yield complete
    if folder is not None:
        yield [folder]
