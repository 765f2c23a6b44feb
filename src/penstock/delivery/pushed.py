"""What a pushed file looks like on the wire, for both sides.

A file is sent to `<worker's address>/<ID of the start event>`::

    PUT    the whole file            Content-Length, Repr-Digest, Penstock-Upload, Penstock-Step
    HEAD   how much is there?        → Upload-Offset, Upload-Complete; with all of it, Repr-Digest, or Retry-After
                                       while that is not known yet
    PATCH  the rest, from an offset  Upload-Offset, Upload-Complete: ?1, Upload-Length, and as for PUT

HEAD and PATCH are those of the IETF's resumable uploads (draft-ietf-httpbis-resumable-upload). The offset may be less
than is there; the rest of a file that is all there, but not complete yet, has no bytes. A receiver without the two gets
the file from its beginning each time.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Final

ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
"""What may be the name of a pushed file: an ID of a start event."""
PARTIAL: Final = "application/partial-upload"
_SHA256: Final = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):", re.ASCII)


def written_digest(sha256: str) -> str:
    """Return the value of Repr-Digest (RFC 9530) for a SHA-256 in hex."""
    return f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"


def read_digest(header: str) -> str | None:
    """Return the SHA-256 in hex that a Repr-Digest names; None if it names none."""
    for member in header.split(","):
        found = _SHA256.fullmatch(member.strip())
        if found is not None:
            try:
                return b64decode(found.group(1), validate=True).hex()
            except binascii.Error:
                return None
    return None


def number(header: str | None) -> int | None:
    """Return a number that a header holds; None if it holds none."""
    return int(header) if header and header.isascii() and header.isdigit() and len(header) < 19 else None
