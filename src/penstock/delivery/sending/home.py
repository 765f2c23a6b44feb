"""Where the bytes lie, for steps that are given the address that their upload came with: a path in the data folder.

That folder may be another one by now: moved to a larger disk, restored from a backup, or mounted at another place.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...blobs.base import BlobMissing
from ...errors import Unavailable
from .base import Way

if TYPE_CHECKING:
    from pathlib import Path

    from ...blobs.base import SupportsPath
    from ...events.types import StartPostprocessingStep
    from .base import Report


class HomeWay(Way):
    """Names the present path of a file of ours, and leaves every other address as it is."""

    name = "home"
    at_once = True

    def __init__(self, folder: Path, blobs: SupportsPath) -> None:
        """`folder` is where the files of `blobs` are."""
        self._below = f"{folder.absolute().as_uri()}/"
        self._blobs = blobs

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        """Return the address; what cannot be looked up now stays as the upload came with it."""
        del start_id, report
        if not start.url.startswith("file:") or start.url.startswith(self._below):
            return start.url
        try:
            path = await asyncio.to_thread(self._blobs.path, start.upload_id)
        except (BlobMissing, Unavailable):
            return start.url
        return path.absolute().as_uri()
