"""Which file names are taken. A bad name is refused, never mended: the uploader would look for it under the old one."""

from __future__ import annotations

import unicodedata

from ..errors import InvalidRequest

LONGEST_BYTES = 255
"""In UTF-8; the limit of common file systems."""
_SEPARATORS = frozenset("/\\")


class UnsafeName(InvalidRequest):
    """The name cannot be that of a file here."""

    code = "unsafe-name"


def checked_name(name: str) -> str:
    """Return `name` if it is a single, printable file name.

    Raises:
        UnsafeName: it is empty, has a separator or a control character, leads elsewhere, or is too long.
    """
    reason = _objection(name)
    if reason:
        raise UnsafeName(f"file name {name[:80]!r}: {reason}. Send a plain name such as report.pdf.")
    return name


def _objection(name: str) -> str:
    if not name.strip():
        return "is empty"
    if name in (".", ".."):
        return "names a folder"
    if _SEPARATORS & set(name):
        return "has a path separator"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        return "has a control character"
    if len(name.encode()) > LONGEST_BYTES:
        return f"is longer than {LONGEST_BYTES} bytes"
    return ""
