"""How steps get the bytes: what the gateway does for each of them, and where one that runs by itself looks."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from .. import backends
from ..blobs.base import SupportsPath
from ..delivery.schemes import ByScheme

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from ..blobs.base import BlobStore
    from ..delivery.base import Delivery
    from ..settings import Settings


async def open_delivery(stack: AsyncExitStack, settings: Settings, *, as_files: bool = True) -> Delivery:
    """Return the delivery that the settings describe; `stack` closes it.

    Args:
        stack: closes it.
        settings: say where bytes may come from.
        as_files: whether fetched bytes are to lie in a file; otherwise they can be read as a stream only.
    """
    web: Any = await _open_web(stack, settings, as_files=as_files)
    deliveries: dict[str, Delivery] = {"http": web, "https": web}
    if settings.delivery_folder is not None:
        deliveries["file"] = backends.load("delivery", "path")(settings.delivery_folder)
    if settings.delivery_volumes:
        deliveries["volume"] = backends.load("delivery", "volume")(settings.delivery_volumes)
    delivery: Delivery = ByScheme(deliveries)
    if settings.delivery_inbox is not None:
        inbox = backends.load("delivery", "inbox")(
            settings.delivery_inbox,
            delivery,
            tls=False if settings.delivery_tls_insecure else ssl.create_default_context(),
            stall_limit=settings.delivery_stall_limit,
        )
        delivery = await stack.enter_async_context(inbox)
    return delivery


async def open_own_delivery(
    stack: AsyncExitStack, settings: Settings, folder: Path, blobs: BlobStore, *, as_files: bool
) -> Delivery:
    """Return the delivery for a step that the gateway itself runs.

    It opens the files where they lie, or reads from the store where they are none; a step that is to get them in
    another way does it as others would.

    Args:
        stack: closes it.
        settings: say which step gets them how.
        folder: where the gateway keeps bytes, if in files.
        blobs: keeps them.
        as_files: whether what is no file is to be fetched into one; otherwise it can be read as a stream only.
    """
    own: Delivery
    if isinstance(blobs, SupportsPath):
        own, scheme = backends.load("delivery", "path")(folder), "file"
    else:
        by_store = backends.load("delivery", "blobs")(blobs, as_files=as_files)
        own, scheme = await stack.enter_async_context(by_store), ""  # what is no file has no address
    if not settings.delivery:
        return own
    web: Any = await _open_web(stack, settings, as_files=True)
    volumes = {chosen.place: folder for chosen in settings.delivery.values() if chosen.way == "path"}
    volume: Delivery = backends.load("delivery", "volume")(volumes)
    return ByScheme({scheme: own, "volume": volume, "http": web, "https": web})


async def _open_web(stack: AsyncExitStack, settings: Settings, *, as_files: bool) -> Any:
    tls = False if settings.delivery_tls_insecure else ssl.create_default_context()
    stall = settings.delivery_stall_limit
    if as_files:
        fetching = backends.load("delivery", "pull")(settings.delivery_temp_dir, tls=tls, stall_limit=stall)
    else:
        fetching = backends.load("delivery", "stream")(tls=tls, stall_limit=stall)
    return await stack.enter_async_context(fetching)
