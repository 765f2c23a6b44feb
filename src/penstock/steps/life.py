"""Shows that work goes on which cannot say so itself, such as that of a scanner, for as long as it can be believed."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from .beside import beside

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from ..clock import Clock
    from .upload import StepUpload

SIGN_OF_LIFE: Final = timedelta(seconds=5)
"""Work that takes longer than this is reported as taken in hand, even if the function gives no heartbeat."""


class Life:
    """What is known of some work: that it was seen to go on, and when for the last time.

    Args:
        upload: what is worked on; gets the heartbeats.
        clock: measures the time between them.
        believed_for: how long work is believed to go on since that was seen; after that it may be what hangs, and what
            would give up on a silent step is to do so.
    """

    def __init__(self, upload: StepUpload, clock: Clock, *, believed_for: timedelta) -> None:
        self._upload = upload
        self._clock = clock
        self._believed_seconds = believed_for.total_seconds()
        self._seen_at = clock.monotonic()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Give heartbeats while the context is open and the work is believed to go on."""
        async with beside(self._upload.id, self._show()):
            yield

    async def noting(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield bytes that the work is about; each piece shows that it goes on."""
        async with aclosing(pieces):
            async for piece in pieces:
                self._seen_at = self._clock.monotonic()
                yield piece

    async def _show(self) -> None:
        while True:
            await self._clock.sleep(SIGN_OF_LIFE)
            if self._clock.monotonic() - self._seen_at < self._believed_seconds:
                self._upload.heartbeat()
