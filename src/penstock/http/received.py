"""What an uploader is told whose file has arrived: it is not there for readers before its steps have passed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .asgi import Answer

if TYPE_CHECKING:
    from ..uploads.standing import Standing


def accepted(standing: Standing, base: str, location: str) -> Answer:
    """Return the answer, 202; `base` is the server's address, `location` of what the request has made."""
    sent = {"Location": location, "Content-Type": "application/json", "Cache-Control": "no-store"}
    return Answer(
        202, {**sent, **links(standing, base)}, msgspec.json.encode(told(standing, base)) + b"\n"
    )  # people read this in a terminal


def told(standing: Standing, base: str) -> dict[str, object]:
    """Return what is told of an upload."""
    upload = standing.upload
    return {
        "id": upload.id,
        "filename": upload.filename,
        "path": upload.file_path,
        "size": standing.offset,
        "phase": upload.phase,
        "status": f"{base}/api/v1/uploads/{upload.id}",
        "content": f"{base}/api/v1/files/{upload.id}/content",
    }


def links(standing: Standing, base: str) -> dict[str, str]:
    """Return the header that tells where to follow what becomes of a file, and where it will be (RFC 8288)."""
    upload_id = standing.upload.id
    return {
        "Link": f'<{base}/api/v1/uploads/{upload_id}>; rel="status", '
        f'<{base}/api/v1/files/{upload_id}/content>; rel="enclosure"'
    }
