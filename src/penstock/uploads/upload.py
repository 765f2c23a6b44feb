"""An upload as the gateway knows it: from its creation until its file is available, gone, or forgotten."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from ..events.types import ScanDetails
from .protocols.concat import PARTIAL, parts_of
from .protocols.proviso import Proviso


class Phase(StrEnum):
    """Where an upload stands for the people who wait for it."""

    RECEIVING = "receiving"
    """Its bytes are on their way in. The length of the staged bytes is the offset."""
    PROCESSING = "processing"
    """All bytes are on disk; the steps run. Visible, can be cancelled, cannot be read."""
    RELEASED = "released"
    """Available to readers."""
    REJECTED = "rejected"
    """Postprocessing ended in `abort`, or an outcome we do not know: the bytes are kept, unreadable, for a restart."""
    DELETED = "deleted"
    """Postprocessing ended in `delete`: the bytes are gone, the entry tells why."""
    CANCELLED = "cancelled"
    """Removed by its owner or an operator; the bytes are gone."""
    EXPIRED = "expired"
    """Not completed in time; the bytes are gone."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self not in (Phase.RECEIVING, Phase.PROCESSING)

    @property
    def holds_bytes(self) -> bool:
        """Whether bytes of this upload are kept."""
        return self in (Phase.RECEIVING, Phase.PROCESSING, Phase.RELEASED, Phase.REJECTED)


class ScanMark(msgspec.Struct, frozen=True):
    """What the virus scanner said last."""

    infected: bool
    signature: str = ""
    scanned_at: str = ""
    """RFC 3339."""
    error: str = ""
    details: ScanDetails | None = None
    """Who looked, and how far; None where the scanner does not say."""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the catalogue. Times are aware and in UTC."""

    id: str
    filename: str
    """A single, safe name: never empty, no separators or control characters."""
    path: str = ""
    """Where in its space the file is: folders and its name, with slashes; empty: its name, and in no folder."""
    space: str = "default"
    """Where the file ends up; opaque to us."""
    size_bytes: int | None = None
    """None until known (deferred length, chunked PUT)."""
    media_type: str = "application/octet-stream"
    metadata: str = ""
    """The tus `Upload-Metadata` header as the client sent it."""
    phase: Phase = Phase.RECEIVING
    run: int = 0
    """How often postprocessing was begun for it."""
    outcome: str = ""
    """The decision of postprocessing, as it was said."""
    reason: str = ""
    """Why it was rejected or removed, for people."""
    scan: ScanMark | None = None
    initiator_id: str = ""
    """Names the client that uploads, so that it recognises the events of its own doing."""
    owner: str = ""
    """The user who uploads, as a trusted proxy has named them; empty: nobody has."""
    trace_parent: str = ""
    """W3C `traceparent` of the request that created it; once it is complete, of its being received. Empty: none yet."""
    created_at: datetime
    expires_at: datetime | None = None
    """Until when an unfinished upload must be complete; None: no limit."""
    received_at: datetime | None = None
    ended_at: datetime | None = None
    concat: str = ""
    """The tus `Upload-Concat` header as the client sent it: `partial`, `final;…`, or empty."""
    explicit_end: bool = False
    """Whether the client says when all bytes are there (`Upload-Complete`), however many have arrived."""
    proviso: Proviso | None = None
    """What must be at its path when it becomes the file there; None: whatever is."""

    @property
    def file_path(self) -> str:
        """Where in its space the file is, or will be."""
        return self.path or self.filename

    @property
    def is_part(self) -> bool:
        """Whether it is only a part of others: never processed, never read, gone at its time."""
        return self.concat == PARTIAL

    @property
    def parts(self) -> tuple[str, ...]:
        """The uploads that it is made of, in their order; none when it is received itself."""
        return parts_of(self.concat) if self.concat else ()


def counted_bytes(upload: Upload) -> int:
    """Return what an upload counts for in quotas: its size, once that is known; nothing once it is rejected or gone."""
    counts = upload.phase in (Phase.RECEIVING, Phase.PROCESSING, Phase.RELEASED)
    return (upload.size_bytes or 0) if counts else 0
