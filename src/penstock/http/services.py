"""What the HTTP routes work with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from typing import Self

import msgspec

from ..app.parts import Parts
from ..blobs.handover import handovers_of
from ..errors import NotFound
from ..postprocessing.commands import listed
from ..postprocessing.shown import ShownRecord
from ..rests import Rests
from ..uploads.upload import Phase, Upload
from .address import PublicAddress
from .caller import Callers
from .cors import Cors
from .hosts import Hosts
from .views import UploadView


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(Parts):
    """The parts of the application, and what several routes do with them."""

    address: PublicAddress
    hosts: Hosts
    cors: Cors
    callers: Callers

    @classmethod
    def of(cls, parts: Parts) -> Self:
        """Return the services over the parts of an open application."""
        return cls(
            **{field.name: getattr(parts, field.name) for field in fields(parts)},
            address=PublicAddress(parts.public_url, parts.trusted_proxies),
            hosts=Hosts(
                parts.listens_at, parts.allowed_hosts, (parts.public_url, parts.delivery_url), parts.trusted_proxies
            ),
            cors=Cors(parts.cors_origins),
            callers=Callers(parts.user_header, parts.trusted_proxies),
        )

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
        now, handovers = self.clock.now(), handovers_of(self.blobs)
        return [
            UploadView.of(
                upload,
                offset=await self._offset(upload),
                progress=saved[upload.id].progress if upload.id in saved else None,
                now=now,
                stalled_after_seconds=self.stalled_after.total_seconds(),
                handover=handovers.of(upload.id) if upload.phase in _WITH_RECORD else None,
            )
            for upload in uploads
        ]

    async def records(self, step: str | None, limit: int) -> AsyncIterator[bytes]:
        """Yield the JSON of a `RecordPage` with at most `limit` records, of one step or of all, piece by piece.

        Raises:
            StoreUnavailable: before the first piece, or later.
        """
        now, rests, stalled_after_seconds = self.clock.now(), Rests(self.clock), self.stalled_after.total_seconds()
        piece, met = [b'{"records":['], 0
        async for saved in listed(self.store, step):
            met += 1
            if met <= limit:
                shown = msgspec.json.encode(ShownRecord.of(saved.progress, now, stalled_after_seconds))
                piece.append(b"," + shown if met > 1 else shown)
            if len(piece) >= _PIECE:
                yield b"".join(piece)
                piece = []
            await rests.after()
        yield b"".join((*piece, b'],"more":%d}' % max(0, met - limit)))

    async def _offset(self, upload: Upload) -> int:
        if upload.phase is Phase.RECEIVING:
            return await self.receiver.offset(upload.id)
        return upload.size_bytes or 0


_PIECE = 500
"""Records that are sent at once."""
_WITH_RECORD = (Phase.PROCESSING, Phase.REJECTED)
