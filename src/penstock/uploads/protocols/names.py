"""Which file names are taken. A bad name is refused, never mended: the uploader would look for it under the old one.

A name ends up in folders of people on all systems, in headers and in terminals; what would lead elsewhere in any of
them, or look like another name, is refused here, once, for every protocol.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from ...errors import InvalidRequest

LONGEST_BYTES: Final = 255
"""In UTF-8; the limit of common file systems."""
LONGEST_PATH_BYTES: Final = 1024
"""In UTF-8; what object stores take, and what fits into an index."""
_SEPARATORS: Final = frozenset("/\\")
_CONTROL: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs, and what breaks lines."""
_DIRECTION: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Turn the direction of what follows, so that `…gnp.exe` reads as `…exe.png`."""
_PLAIN: Final = re.compile(r"(?!con|prn|aux|nul|com|lpt)[a-z0-9][a-z0-9_.-]{0,99}", re.IGNORECASE | re.ASCII)
"""Nothing can be wrong with such names; most are like this."""
_DEVICE: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])( *[.:].*)?",
    re.IGNORECASE,
)
"""Windows opens a device for these, whatever the extension."""


class UnsafeName(InvalidRequest):
    """The name cannot be that of a file here."""

    code = "unsafe-name"


def checked_name(name: str) -> str:
    """Return `name` if it is a single, printable file name.

    Raises:
        UnsafeName: it is empty, leads elsewhere, could be mistaken for another, or is too long.
    """
    reason = _objection(name)
    if reason:
        raise UnsafeName(f"file name {name[:80]!r}: {reason}. Send a plain name such as report.pdf.")
    return name


def checked_path(path: str) -> str:
    """Return `path` if it names a file in a space: folders and a file name, with slashes between them.

    Raises:
        UnsafeName: one of the names is not taken (an empty one and `..` are not), or it is too long.
    """
    if len(path.encode(errors="replace")) > LONGEST_PATH_BYTES:
        raise UnsafeName(f"path {path[:80]!r}…: is longer than {LONGEST_PATH_BYTES} bytes. Choose a shorter one.")
    return "/".join([checked_name(name) for name in path.split("/")])


def misleading(text: str) -> str:
    """Return what keeps a text from being shown as it is, in a list or a terminal; empty: nothing."""
    if text.isascii() and text.isprintable():
        return ""
    if any(unicodedata.category(character) in _CONTROL for character in text):
        return "has a control character"
    if _DIRECTION & set(text):
        return "has a character that turns the direction of the text"
    return ""


def _objection(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return ""
    if not name.strip():
        return "is empty"
    if name.strip(". ") == "":
        return "names a folder"
    if _SEPARATORS & set(name):
        return "has a path separator"
    if reason := misleading(name):
        return reason
    if _DEVICE.fullmatch(name.rstrip(" ")):
        return "is reserved for a device on Windows"
    if len(name.encode()) > LONGEST_BYTES:
        return f"is longer than {LONGEST_BYTES} bytes"
    return ""
