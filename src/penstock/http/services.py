"""What the HTTP routes work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from ..blobs.base import BlobStore
from ..bus.base import Bus
from ..clock import Clock
from ..errors import NotFound
from ..health import Check
from ..postprocessing.commands import Commands
from ..postprocessing.survey import Survey
from ..store.base import ProgressStore
from ..telemetry import Metrics
from ..uploads.catalogue import Catalogue
from ..uploads.feed import Feed
from ..uploads.gateway import Gateway
from ..uploads.receiver import Receiver
from ..uploads.upload import Phase, Upload
from .views import RecordView, UploadView


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of the running application that requests reach."""

    receiver: Receiver
    gateway: Gateway
    catalogue: Catalogue
    feed: Feed
    blobs: BlobStore
    store: ProgressStore
    commands: Commands
    survey: Survey
    bus: Bus
    metrics: Metrics
    clock: Clock
    stalled_after: timedelta
    public_url: str | None
    """The server's address as clients see it; None: as each request names it."""
    checks: Callable[[], Awaitable[list[Check]]]
    """Looks at everything that can be wrong while running."""

    async def upload(self, upload_id: str) -> Upload:
        """Return one upload.

        Raises:
            NotFound: there is none of this ID.
        """
        upload = await self.catalogue.get(upload_id)
        if upload is None:
            raise NotFound(f"there is no upload {upload_id!r}; it may have been removed or never existed")
        return upload

    async def views(self, uploads: list[Upload]) -> list[UploadView]:
        """Show uploads together with what the coordinator knows of them."""
        saved = await self.store.get_many([upload.id for upload in uploads if upload.phase in _WITH_RECORD])
        now = self.clock.now()
        return [
            UploadView.of(
                upload,
                offset=await self._offset(upload),
                progress=saved[upload.id].progress if upload.id in saved else None,
                now=now,
                stalled_after_seconds=self.stalled_after.total_seconds(),
            )
            for upload in uploads
        ]

    async def records(self, step: str | None, limit: int) -> list[RecordView]:
        """Show at most `limit` records, of one step or of all."""
        now, shown = self.clock.now(), list[RecordView]()
        async for saved in self.store.in_step(step) if step else self.store.all():
            if len(shown) >= limit:
                break
            shown.append(RecordView.of(saved.progress, now, self.stalled_after.total_seconds()))
        return shown

    async def _offset(self, upload: Upload) -> int:
        if upload.phase is Phase.RECEIVING:
            return await self.receiver.offset(upload.id)
        return upload.size_bytes or 0


_WITH_RECORD = (Phase.PROCESSING, Phase.REJECTED)
