"""Digest fields on paper (RFC 9530): `Content-Digest`, `Repr-Digest`, and the wish for them.

Only the algorithms that the RFC recommends are known. Of several digests in a field, those of other algorithms are
passed over (section 2 there); a field that has no other is refused, since nothing of it could be verified.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

import http_sf

from ..errors import InvalidDigest, UnsupportedDigest
from .checksum import ALGORITHMS, Checksum
from .integrity import KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT_DIGEST: Final = "Content-Digest"
REPR_DIGEST: Final = "Repr-Digest"
_NAMES: Final = {"sha-256": "sha256", "sha-512": "sha512"}
_WISH: Final = "sha-256=5, sha-512=3"
"""SHA-256 rather than SHA-512, since that is what a file is shown with afterwards."""
WISHES: Final = {"Want-Content-Digest": _WISH, "Want-Repr-Digest": _WISH}
"""What tells clients which digests are welcome with their requests (section 4 there)."""


def read_digests(field: str, value: str) -> tuple[Checksum, ...]:
    """Read the value of a digest field; return the digests that can be verified.

    Raises:
        InvalidDigest: it cannot be read, or a digest has a length that no bytes have.
        UnsupportedDigest: there is none of an algorithm that is known here.
    """
    members = _dictionary(field, value)
    known = tuple(
        Checksum(algorithm, _bytes(field, name, members[name])) for name, algorithm in _NAMES.items() if name in members
    )
    if not known:
        named = ", ".join(members)[:80] or "nothing"
        raise UnsupportedDigest(f"{field} names {named}. Send a digest by one of {', '.join(_NAMES)}.")
    return known


def as_metadata(digests: tuple[Checksum, ...]) -> str:
    """Return `Upload-Metadata` that names the first of some digests of a whole file; nothing without any."""
    if not digests:
        return ""
    text = f"{digests[0].algorithm} {digests[0].digest.hex()}"
    return f"{KEY} {base64.b64encode(text.encode()).decode()}"


def repr_digest(verified: Checksum | None, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the header that tells the digest of a whole file, if it is known and the reader does not decline it.

    Args:
        verified: a checksum that the file has; None: none is known.
        headers: the request's, with `Want-Repr-Digest` or without.
    """
    name = next((name for name, algorithm in _NAMES.items() if verified and verified.algorithm == algorithm), None)
    if verified is None or name is None or _declined(name, headers.get("want-repr-digest", "")):
        return {}
    return {REPR_DIGEST: f"{name}=:{base64.b64encode(verified.digest).decode()}:"}


def _declined(name: str, wishes: str) -> bool:
    try:
        wish = _dictionary("Want-Repr-Digest", wishes).get(name)
    except InvalidDigest:
        return False
    return isinstance(wish, tuple) and wish[0] == 0


def _dictionary(field: str, value: str) -> dict[str, object]:
    try:
        members = http_sf.parse(value.encode("latin-1", "replace"), tltype="dictionary")
    except http_sf.StructuredFieldError as error:
        raise InvalidDigest(
            f"{field}: {value[:80]!r} is no dictionary of digests. Send sha-256=:…:, in base64."
        ) from error
    return dict(members) if isinstance(members, dict) else {}


def _bytes(field: str, name: str, member: object) -> bytes:
    digest = member[0] if isinstance(member, tuple) else None
    size = ALGORITHMS[_NAMES[name]]().digest_size
    if not isinstance(digest, bytes) or len(digest) != size:
        raise InvalidDigest(
            f"{field}: {name} is no byte sequence of {size} bytes. Send them in base64, between colons."
        )
    return digest
