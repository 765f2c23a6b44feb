"""Addresses on volumes that gateway and step share, each mounting them where it likes: `volume://NAME/path/in/it`.

They say how many bytes there are, and their SHA-256: a mount that lags behind is noticed.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

SCHEME: Final = "volume"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
"""What a volume may be called: it stands where a URL has its host."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class OnVolume(NamedTuple):
    """A file on a volume."""

    volume: str
    parts: tuple[str, ...]
    """Folders and file, from the volume's root."""
    size_bytes: int
    sha256: str
    """In hex."""


def write(file: OnVolume) -> str:
    """Return the address of a file."""
    path = "/".join(quote(part, safe="") for part in file.parts)
    return f"{SCHEME}://{file.volume}/{path}?size={file.size_bytes}&sha256={file.sha256}"


def read(url: str) -> OnVolume:
    """Return what an address says.

    Raises:
        ValueError: it is none, or names something outside of the volume.
    """
    split = urlsplit(url)
    query = parse_qs(split.query, strict_parsing=True)
    size, sha256 = query.get("size", [""])[0], query.get("sha256", [""])[0]
    if split.scheme != SCHEME or not NAME.fullmatch(split.netloc) or split.fragment:
        raise ValueError("it does not name a volume")
    parts = tuple(unquote(part, errors="strict") for part in split.path.removeprefix("/").split("/"))
    if not all(_is_plain(part) for part in parts):
        raise ValueError("its path is not one below the volume")
    if not (size.isascii() and size.isdigit() and len(size) < 19 and _SHA256.fullmatch(sha256)):
        raise ValueError("it does not say size and SHA-256")
    return OnVolume(split.netloc, parts, int(size), sha256)


def _is_plain(part: str) -> bool:
    return part not in {"", ".", ".."} and "\0" not in part and PurePosixPath(part).parts == (part,)
