"""How a step that runs by itself gets the bytes."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from .. import backends
from ..delivery.schemes import ByScheme

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from ..delivery.base import Delivery
    from ..settings import Settings


async def open_delivery(stack: AsyncExitStack, settings: Settings, *, as_files: bool = True) -> Delivery:
    """Return the delivery that the settings describe; `stack` closes it.

    Args:
        stack: closes it.
        settings: say where bytes may come from.
        as_files: whether fetched bytes are to lie in a file; otherwise they can be read as a stream only.
    """
    tls = False if settings.delivery_tls_insecure else ssl.create_default_context()
    if as_files:
        fetching = backends.load("delivery", "pull")(settings.delivery_temp_dir, tls=tls)
    else:
        fetching = backends.load("delivery", "stream")(tls=tls)
    web = await stack.enter_async_context(fetching)
    deliveries: dict[str, Delivery] = {"http": web, "https": web}
    if settings.delivery_folder is not None:
        deliveries["file"] = backends.load("delivery", "path")(settings.delivery_folder)
    return ByScheme(deliveries)
