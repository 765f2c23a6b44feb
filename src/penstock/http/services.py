"""What the HTTP routes work with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from ..app import Parts
from ..errors import NotFound
from ..postprocessing.commands import listed
from ..uploads.upload import Phase, Upload
from .views import RecordView, UploadView


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(Parts):
    """The parts of the application, and what several routes do with them."""

    @classmethod
    def of(cls, parts: Parts) -> Self:
        """Return the services over the parts of an open application."""
        return cls(**{field.name: getattr(parts, field.name) for field in fields(parts)})

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
        async for saved in listed(self.store, step):
            if len(shown) >= limit:
                break
            shown.append(RecordView.of(saved.progress, now, self.stalled_after.total_seconds()))
        return shown

    async def _offset(self, upload: Upload) -> int:
        if upload.phase is Phase.RECEIVING:
            return await self.receiver.offset(upload.id)
        return upload.size_bytes or 0


_WITH_RECORD = (Phase.PROCESSING, Phase.REJECTED)
