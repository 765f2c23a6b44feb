"""Releases an upload that no step is for in the very change that notes its arrival.

The bytes are put into their final place first, mostly by the thread that then makes the change (`last_bytes`). Whoever
dies before the change leaves an upload that is on its way in and has all its bytes, in whichever place: the next start
completes it, with the steps that are configured then. Nobody can read it before the change, which is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import structlog

from ...errors import PenstockError
from ...events.types import BytesReceived, Outcome
from ..file_errors import UNMET
from ..protocols.metadata import file_checksum
from ..upload import Phase, Upload
from . import notices
from .last_bytes import NotMoved

if TYPE_CHECKING:
    from ...blobs.base import BlobStore
    from ...clock import Clock
    from ...tracing import Tracing
    from ..catalogue.catalogue import Catalogue
    from .last_bytes import LastBytes

log = structlog.get_logger(__name__)

Foresee: TypeAlias = Callable[[str, Callable[[], BytesReceived]], Callable[[], None] | None]
"""Takes an upload's ID, and what returns the beginning of its run. Returns None if there are steps to run; otherwise
the upload is to be released, and what is returned is to be called once it is."""


class AtOnce:
    """Does it. Callers see to it that nobody else works on the same upload meanwhile.

    Args:
        foresee: tells what is decided about an upload.
        catalogue: knows all uploads.
        blobs: keeps their bytes, and need not copy them for a release.
        clock: dates changes.
        tracing: is told of each decision.
    """

    def __init__(
        self, foresee: Foresee, *, catalogue: Catalogue, blobs: BlobStore, clock: Clock, tracing: Tracing
    ) -> None:
        self._foresee = foresee
        self._catalogue = catalogue
        self._blobs = blobs
        self._clock = clock
        self._tracing = tracing

    def is_for(self, upload: Upload) -> bool:
        """Tell whether an upload is to be released when its bytes are there, whatever they are.

        Not where that is only known when they are there.
        """
        if upload.size_bytes is None or upload.concat or file_checksum(upload.metadata) is not None:
            return False
        return self._foresee(upload.id, lambda: notices.beginning(upload, "")) is not None

    async def release(self, upload: Upload, begun: Upload, last: LastBytes | None = None) -> Upload | None:
        """Release an upload if nothing else is to be done with it; return it as it is then.

        None: there are steps for it, its size was not known before its end, somebody else has changed it, or its bytes
        cannot be put into their place now. Then nothing was changed, and it is to be begun like any other.

        Args:
            upload: as it is in the catalogue, on its way in.
            begun: the same, as it would be in processing.
            last: its last bytes, which are put on disk unless nothing else is done either; None: all are there.

        Raises:
            FileThere, OtherVersion: its proviso does not hold; its bytes may be in their final place.
            StorageFull, BlobUnavailable: its last bytes may not be on disk; nothing was changed.
        """
        if upload.size_bytes is None:  # after a death nobody could tell that all is there, nor add to what was moved
            return None
        noted = self._foresee(upload.id, lambda: notices.beginning(begun, ""))
        if noted is None:
            return None
        outcome = Outcome.CONTINUE.value
        with self._tracing.span("upload decided", begun.trace_parent, upload_id=upload.id, outcome=outcome) as span:
            try:
                if last is None:
                    await self._blobs.release(upload.id)
            except PenstockError as error:
                span.discard()
                log.warning("release_left_for_later", upload=upload.id, error=str(error))
                return None
            released = msgspec.structs.replace(begun, phase=Phase.RELEASED, outcome=outcome, ended_at=self._clock.now())
            try:
                changed = await self._catalogue.change(upload, released, first=None if last is None else last.release)
            except UNMET:
                span.discard()
                raise
            except NotMoved:
                span.discard()
                return await self.release(upload, begun)  # which says why it cannot be, if so
            if not changed:
                span.discard()
                await self._clear_away(upload.id)
                return None
        noted()
        log.info("upload_ended", upload=upload.id, phase=released.phase, outcome=outcome, reason="")
        return released

    async def _clear_away(self, upload_id: str) -> None:
        """Remove the bytes of an upload that was given up meanwhile: whoever did that has not found all of them."""
        present = await self._catalogue.get(upload_id)
        if present is None or not present.phase.holds_bytes:
            await self._blobs.discard(upload_id)
