"""What an administrator is to be told at once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class AlertKind(StrEnum):
    """What has happened."""

    VIRUS_FOUND = "virus-found"
    """A scanner has found something in an upload."""
    SCANNER_NOT_USED = "scanner-not-used"
    """The scanner cannot be used: uploads are held."""
    SCANNER_READY = "scanner-ready"
    """It can be used again."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of news. What does not belong to its kind is left out."""

    kind: AlertKind
    id: str
    """The same when it is told again, as after a crash: for whoever wants to have it once."""
    at: datetime
    text: str
    """All of it in one sentence, under the name by which most chat programs show it."""
    scanner: str
    upload_id: str = ""
    filename: str = ""
    size_bytes: int | None = None
    user_id: str = ""
    space: str = ""
    signature: str = ""
    outcome: str = ""
    """What becomes of the upload: `delete`, `abort`, `quarantine` or `continue`."""
