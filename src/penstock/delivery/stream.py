"""Delivery `stream`: the bytes are fetched by HTTP while the step reads them, and never lie on a disk of ours.

For steps that read from the beginning to the end. Nothing is asked for before the step reads; each new reading fetches
the bytes anew.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self

from .base import BytesUnavailable, Delivered, Delivery, DeliveryRefused
from .download import STALL_LIMIT, Downloads, is_web_address

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator
    from datetime import timedelta
    from pathlib import Path

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
            yield StreamedBytes(start, self._downloads, readings)


class StreamedBytes(Delivered):
    """Bytes on another machine."""

    is_file = False

    def __init__(self, start: StartPostprocessingStep, downloads: Downloads, readings: AsyncExitStack) -> None:
        self._start = start
        self._downloads = downloads
        self._readings = readings

    @property
    def path(self) -> Path:
        """There is none.

        Raises:
            BytesUnavailable: always.
        """
        raise BytesUnavailable("the bytes lie in no file on this machine; they can only be read as a stream")

    @property
    def size_bytes(self) -> int:
        """How many there are, as the start event says; `stream` makes sure of it."""
        return self._start.filesize

    def stream(self, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Fetch and yield the bytes from `start` up to, not including, `stop` (None: to the end).

        Raises:
            BytesUnavailable: they could not be fetched, or are more or fewer than announced.
        """
        pieces = self._downloads.pieces(self._start, start=start, stop=stop)
        self._readings.push_async_callback(_close, pieces)
        return pieces


async def _close(pieces: AsyncGenerator[bytes, None]) -> None:
    with suppress(RuntimeError):  # it is being read: a call that was cancelled has not ended yet, and will close it
        await pieces.aclose()
