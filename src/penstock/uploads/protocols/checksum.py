"""Checksums of request bodies (tus, Checksum)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import google_crc32c

from ..errors import ChecksumMismatch, UnsupportedChecksum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Hash(Protocol):
    """What computes a checksum."""

    @property
    def digest_size(self) -> int:
        """How many bytes `digest` returns."""
        ...

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""
        ...

    def digest(self) -> bytes:
        """Return the checksum of the bytes so far."""
        ...


class Crc32:
    """CRC-32 as in gzip and zip (ISO 3309), with its bytes in network order, as the other tus servers have it."""

    digest_size = 4

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        """Return the checksum of the bytes so far."""
        return self._value.to_bytes(4, "big")


class Crc32c:
    """CRC-32C (RFC 3720), as object stores know it, with its bytes in network order too."""

    digest_size = 4

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""
        self._value = google_crc32c.extend(self._value, bytes(data))  # it takes nothing else

    def digest(self) -> bytes:
        """Return the checksum of the bytes so far."""
        return self._value.to_bytes(4, "big")


def _md5() -> Hash:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> Hash:
    return hashlib.sha1(usedforsecurity=False)


ALGORITHMS: Final[Mapping[str, Callable[[], Hash]]] = {
    "crc32": Crc32,
    "crc32c": Crc32c,
    "md5": _md5,
    "sha1": _sha1,
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
}
"""By their names in `Upload-Checksum`; sha1 is the one that every server has to know."""


class Checksum(NamedTuple):
    """What the body of a request must hash to."""

    algorithm: str
    digest: bytes


def mismatch(expected: Checksum, actual: bytes) -> ChecksumMismatch:
    """Return the error for a body that has another checksum."""
    return ChecksumMismatch(
        f"the body's {expected.algorithm} is {base64.b64encode(actual).decode()}, not "
        f"{base64.b64encode(expected.digest).decode()}. It was not kept: send the same bytes again."
    )


def read_checksum(header: str) -> Checksum:
    """Read the value of `Upload-Checksum`: an algorithm, a space, and the digest in base64.

    Raises:
        UnsupportedChecksum: an unknown algorithm, or not base64.
        ChecksumMismatch: the digest has a length that no body's has.
    """
    algorithm, _, encoded = header.strip(" \t").partition(" ")
    if algorithm not in ALGORITHMS:
        raise UnsupportedChecksum(f"Upload-Checksum: {algorithm[:20]!r}. Choose one of {', '.join(ALGORITHMS)}.")
    if not encoded.strip(" \t"):
        raise UnsupportedChecksum("Upload-Checksum: there is no digest after the algorithm. Send it in base64.")
    try:
        digest = base64.b64decode(encoded.strip(" \t"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnsupportedChecksum(f"Upload-Checksum: the digest is not base64: {error}. Encode it so.") from error
    if len(digest) != ALGORITHMS[algorithm]().digest_size:
        raise ChecksumMismatch(
            f"Upload-Checksum: {len(digest)} bytes are no {algorithm} digest, so no body can match. Nothing was kept."
        )
    return Checksum(algorithm, digest)
