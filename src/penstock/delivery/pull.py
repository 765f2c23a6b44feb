"""Delivery `pull`: the bytes are fetched by HTTP into a file, for steps that want one."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from .addresses import is_web_address
from .base import Delivery, DeliveryRefused
from .download import STALL_LIMIT, Downloads
from .folders import OwnFolder
from .localfile import LocalBytes

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from datetime import timedelta
    from pathlib import Path

    from ..events.types import StartPostprocessingStep
    from .base import Delivered


class PullDelivery(Delivery):
    """Fetches each upload into a file of its own, which is gone when the step is done with it.

    Open it before use. What a killed process left behind is removed when the next one opens.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        tls: ssl.SSLContext | bool = True,
        stall_limit: timedelta = STALL_LIMIT,
    ) -> None:
        """Build a delivery.

        Args:
            folder: where the files lie, in a folder of our own below it; None: the system's temporary folder.
            tls: how servers have to prove who they are; False believes any.
            stall_limit: how long a transfer may stand still.
        """
        self._folder = OwnFolder(folder)
        self._downloads = Downloads(tls=tls, stall_limit=stall_limit)

    async def __aenter__(self) -> Self:
        """Make the folder."""
        await self._folder.__aenter__()
        await self._downloads.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._downloads.__aexit__(*exc_info)
        await self._folder.__aexit__(*exc_info)

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        """Fetch the bytes; the file is removed at the end."""
        if not is_web_address(start.url):
            raise DeliveryRefused("the address in the start event is not an http:// or https:// URL")
        async with self._folder.file_of(self._downloads.pieces(start)) as path:
            yield LocalBytes(path, start.filesize)
