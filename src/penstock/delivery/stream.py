"""Delivery `stream`: the bytes are fetched by HTTP while the step reads them, and never lie on a disk of ours.

For steps that read from the beginning to the end. Nothing is asked for before the step reads; each new reading fetches
the bytes anew.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

from .addresses import is_web_address
from .base import Delivered, Delivery, DeliveryRefused
from .download import STALL_LIMIT, Downloads
from .elsewhere import BytesElsewhere

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from ..events.types import StartPostprocessingStep


class StreamDelivery(Delivery):
    """Fetches each upload whenever it is read. Open it before use."""

    def __init__(self, *, tls: ssl.SSLContext | bool = True, stall_limit: timedelta = STALL_LIMIT) -> None:
        """`tls`: how servers have to prove who they are; False believes any. `stall_limit`: how long it may stall."""
        self._downloads = Downloads(tls=tls, stall_limit=stall_limit)

    async def __aenter__(self) -> Self:
        await self._downloads.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._downloads.__aexit__(*exc_info)

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        """Promise the bytes; connections that are still open at the end are closed."""
        if not is_web_address(start.url):
            raise DeliveryRefused("the address in the start event is not an http:// or https:// URL")
        async with AsyncExitStack() as readings:
            yield BytesElsewhere(start.filesize, partial(self._downloads.pieces, start), readings)
