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


async def open_delivery(stack: AsyncExitStack, settings: Settings) -> Delivery:
    """Return the delivery that the settings describe; `stack` closes it."""
    tls = False if settings.delivery_tls_insecure else ssl.create_default_context()
    pull = await stack.enter_async_context(backends.load("delivery", "pull")(settings.delivery_temp_dir, tls=tls))
    deliveries: dict[str, Delivery] = {"http": pull, "https": pull}
    if settings.delivery_folder is not None:
        deliveries["file"] = backends.load("delivery", "path")(settings.delivery_folder)
    return ByScheme(deliveries)
