"""Records, from what the stream says of uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from .. import layout
from ..base import Revision, Saved

if TYPE_CHECKING:
    from ...core.progress import Progress
    from .bucket import Found
    from .follower import Follower

log = structlog.get_logger(__name__)


def decode(found: Found) -> Progress:
    """Read a record.

    Raises:
        BadRecord: it is none, or is about another upload.
    """
    progress = layout.decode(found.data or b"")
    if progress.upload_id != found.upload_id:
        raise layout.BadRecord(f"not the record of upload {found.upload_id}: it is about {progress.upload_id!r}")
    return progress


def noted(follower: Follower, found: Found) -> Saved | None:
    """Note what was met on the way; return it if it is a record."""
    try:
        progress = follower.note(found)
    except layout.BadRecord as error:
        tell_unreadable(found.upload_id, error)
        return None
    return None if progress is None else Saved(progress, Revision(found.seq))


def tell_unreadable(upload_id: str, error: layout.BadRecord) -> None:
    """Log that what lies under an upload's ID cannot be read."""
    log.error("record_unreadable", upload=upload_id, error=str(error))
