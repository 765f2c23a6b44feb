"""The checksum of a whole file, which its uploader names at creation, and which must be right before anybody reads it.

It is part of `Upload-Metadata`, as the clients of oCIS send it: `checksum`, whose value is an algorithm and the digest
in hex, such as `sha256 9f86…`.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Final

from ..errors import BadHeader
from .checksum import ALGORITHMS, Checksum, Hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEY: Final = "checksum"
_FORM: Final = re.compile(r"(?P<algorithm>[A-Za-z0-9-]+)[ :](?P<digest>[0-9A-Fa-f]+)", re.ASCII)


class Adler32:
    """Adler-32 (RFC 1950), as oCIS knows it."""

    digest_size = 4

    def __init__(self) -> None:
        self._value = 1

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""
        self._value = zlib.adler32(data, self._value)

    def digest(self) -> bytes:
        """Return the checksum of the bytes so far."""
        return self._value.to_bytes(4, "big")


FILE_ALGORITHMS: Final[Mapping[str, Callable[[], Hash]]] = {"adler32": Adler32, **ALGORITHMS}


def read_file_checksum(text: str) -> Checksum:
    """Read the value of the key.

    Raises:
        BadHeader: it is no checksum, or one that could not be verified: to pass it over would be to promise too much.
    """
    found = _FORM.fullmatch(text.strip())
    algorithm = found["algorithm"].lower().replace("-", "") if found else ""
    if found is None or algorithm not in FILE_ALGORITHMS:
        raise BadHeader(
            f"Upload-Metadata: {KEY} is {text[:40]!r}. Send an algorithm, a blank, and the digest in hex; "
            f"the algorithm is one of {', '.join(FILE_ALGORITHMS)}."
        )
    digits = 2 * FILE_ALGORITHMS[algorithm]().digest_size
    if len(found["digest"]) != digits:
        raise BadHeader(f"Upload-Metadata: {KEY}: a digest of {algorithm} has {digits} hex digits.")
    return Checksum(algorithm, bytes.fromhex(found["digest"]))
