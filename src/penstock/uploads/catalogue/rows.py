"""Uploads as rows of the catalogue, and back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ...db.instants import from_microseconds, to_microseconds
from ...db.tables import uploads
from ...events.types import ScanDetails
from ..protocols.proviso import Proviso
from ..upload import Phase, ScanMark, Upload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement

COLUMNS: Final[Sequence[ColumnElement[Any]]] = (
    uploads.c.seq,
    uploads.c.id,
    uploads.c.filename,
    uploads.c.space,
    uploads.c.size_bytes,
    uploads.c.media_type,
    uploads.c.metadata,
    uploads.c.phase,
    uploads.c.run,
    uploads.c.outcome,
    uploads.c.reason,
    uploads.c.infected,
    uploads.c.scan_signature,
    uploads.c.scanned_at,
    uploads.c.scan_error,
    uploads.c.initiator_id,
    uploads.c.created_at,
    uploads.c.expires_at,
    uploads.c.received_at,
    uploads.c.ended_at,
    uploads.c.trace_parent,
    uploads.c.scan_details,
    uploads.c.concat,
    uploads.c.explicit_end,
    uploads.c.owner,
    uploads.c.path,
    uploads.c.proviso,
)
"""What `upload_of` reads, in its order; the number comes first."""

CHANGING: Final = (
    "size_bytes",
    "phase",
    "run",
    "outcome",
    "reason",
    "expires_at",
    "received_at",
    "ended_at",
    "trace_parent",
)
"""The columns of `changing_values`."""
SCANNED: Final = ("infected", "scan_signature", "scanned_at", "scan_error", "scan_details")
"""The columns of `scan_values`."""

_read_proviso: Final = msgspec.json.Decoder(Proviso).decode


def upload_of(row: Sequence[Any]) -> Upload:
    """Return the upload that a row of `COLUMNS` holds."""
    (
        _, upload_id, filename, space, size_bytes, media_type, metadata, phase, run, outcome, reason,
        infected, signature, scanned_at, scan_error, initiator_id, created_at, expires_at, received_at, ended_at,
        trace_parent, scan_details, concat, explicit_end, owner, path, proviso,
    ) = row  # fmt: skip
    return Upload(
        id=upload_id,
        filename=filename,
        path="" if path == filename else path,
        space=space,
        size_bytes=size_bytes,
        media_type=media_type,
        metadata=metadata,
        phase=Phase(phase),
        run=run,
        outcome=outcome,
        reason=reason,
        scan=None if infected is None else _scan_of(bool(infected), signature, scanned_at, scan_error, scan_details),
        initiator_id=initiator_id,
        created_at=from_microseconds(created_at),
        expires_at=from_microseconds(expires_at),
        received_at=from_microseconds(received_at),
        ended_at=from_microseconds(ended_at),
        trace_parent=trace_parent,
        concat=concat,
        explicit_end=bool(explicit_end),
        owner=owner,
        proviso=_read_proviso(proviso) if proviso else None,
    )


def fixed_values(upload: Upload) -> dict[str, Any]:
    """Return what is written when an upload is created, and never again."""
    return {
        "id": upload.id,
        "filename": upload.filename,
        "path": upload.file_path,
        "space": upload.space,
        "media_type": upload.media_type,
        "metadata": upload.metadata,
        "initiator_id": upload.initiator_id,
        "concat": upload.concat,
        "explicit_end": upload.explicit_end,
        "proviso": "" if upload.proviso is None else msgspec.json.encode(upload.proviso).decode(),
        "owner": upload.owner,
        "created_at": to_microseconds(upload.created_at),
    }


def final_key(upload: Upload) -> str:
    """Return what tells the uploads apart that are made of parts: by these, and by metadata; empty for others."""
    if not upload.concat or upload.is_part:
        return ""
    return hashlib.sha256(f"{upload.concat}\n{upload.metadata}".encode()).hexdigest()


def changing_values(upload: Upload) -> dict[str, Any]:
    """Return what changes with the phase."""
    return {
        "size_bytes": upload.size_bytes,
        "phase": upload.phase.value,
        "run": upload.run,
        "outcome": upload.outcome,
        "reason": upload.reason,
        "expires_at": to_microseconds(upload.expires_at),
        "received_at": to_microseconds(upload.received_at),
        "ended_at": to_microseconds(upload.ended_at),
        "trace_parent": upload.trace_parent,
    }


def scan_values(scan: ScanMark | None) -> dict[str, Any]:
    """Return what the virus scanner said, in columns."""
    return {
        "infected": None if scan is None else scan.infected,
        "scan_signature": "" if scan is None else scan.signature,
        "scanned_at": "" if scan is None else scan.scanned_at,
        "scan_error": "" if scan is None else scan.error,
        "scan_details": "" if scan is None or scan.details is None else msgspec.json.encode(scan.details).decode(),
    }


def _scan_of(infected: bool, signature: str, scanned_at: str, error: str, details: str) -> ScanMark:
    read = msgspec.json.decode(details, type=ScanDetails) if details else None
    return ScanMark(infected, signature, scanned_at, error, read)
