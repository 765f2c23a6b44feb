"""A file on its way to a worker, and the port for the manners in which workers take one."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ...blobs.base import BlobStore
    from ...events.types import StartPostprocessingStep
    from .base import Report
    from .line import Line


class Parcel:
    """One file for one attempt of a step."""

    def __init__(
        self, blobs: BlobStore, start: StartPostprocessingStep, start_id: str, *, sha256: str, report: Report
    ) -> None:
        """Build it.

        Args:
            blobs: has the bytes.
            start: what they are for.
            start_id: the ID of that event, which is the file's name at the worker.
            sha256: of all bytes, in hex.
            report: is told how far it is.
        """
        self.start = start
        self.start_id = start_id
        self.sha256 = sha256
        self.size_bytes = start.filesize
        self.kept_bytes = 0
        """How much of it the worker had when it was last asked: it does not go back to zero when a try fails."""
        self._blobs = blobs
        self._report = report

    async def read(self, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from an offset on, and report each."""
        size = self.size_bytes
        async with aclosing(self._blobs.read(self.start.upload_id, start=offset, stop=size)) as pieces:
            async for piece in pieces:
                yield piece
                offset += len(piece)
                self._report(offset / size, f"sent {offset} of {size} bytes to the worker")

    def facts(self) -> dict[str, str]:
        """Return what workers are told of the file, by name."""
        return {
            "upload": self.start.upload_id,
            "step": self.start.step_to_start,
            "start": self.start_id,
            "sha256": self.sha256,
            "size": str(self.size_bytes),
            "filename": self.start.filename,
        }


class Manner(Protocol):
    """How a file is handed to one kind of receiver."""

    async def send(self, line: Line, parcel: Parcel) -> str:
        """Send what the worker lacks of a file; return where it is. Called again for the same one after a failure.

        Raises:
            Failed, Refused: it does not have all of it.
        """
        ...
