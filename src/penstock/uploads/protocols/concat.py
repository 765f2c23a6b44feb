"""`Upload-Concat` of tus (Concatenation): an upload that is a part, or one that is made of parts.

`partial` marks a part: it is received like any upload, and then only kept. `final;/uploads/… /uploads/…` names parts in
their order. The header is kept as it was sent, since HEAD has to give it back literally.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import BadHeader

PARTIAL: Final = "partial"
_FINAL: Final = "final;"
_PART: Final = re.compile(
    r"(?:https?://[A-Za-z0-9._~\[\]:-]+)?(?:/[A-Za-z0-9._~-]+)*/uploads/(?P<id>[0-9a-f]{32})", re.ASCII
)
"""The URL of an upload: absolute or relative to the server, whatever the server is called and wherever a proxy has put
it. What counts is the ID, which is ours or nobody's."""
_LONGEST: Final = 64 * 1024
"""Kept with the upload and sent back with every HEAD, so it is bounded; room for some 600 absolute URLs."""


def check_concat(header: str) -> str:
    """Return the header, if it is one of the two kinds, without blanks around it.

    Raises:
        BadHeader: it is something else, or names what cannot be an upload.
    """
    header = header.strip(" \t")
    if header != PARTIAL and not header.startswith(_FINAL):
        raise BadHeader(f"Upload-Concat: {header[:40]!r}. Send {PARTIAL}, or {_FINAL} and the URLs of the parts.")
    if len(header) > _LONGEST:
        raise BadHeader(f"Upload-Concat: more than the {_LONGEST} bytes that are kept. Use fewer, larger parts.")
    if header != PARTIAL:
        urls = _urls(header)
        if not urls:
            raise BadHeader("Upload-Concat: there is no part in it. Name their URLs, separated by blanks.")
        for url in urls:
            if not _PART.fullmatch(url):
                raise BadHeader(f"Upload-Concat: {url[:120]!r} is not the URL of an upload. Send them as in Location.")
    return header


def parts_of(header: str) -> tuple[str, ...]:
    """Return the IDs of the uploads that one is made of, in their order; none for one that stands for itself."""
    if not header.startswith(_FINAL):
        return ()
    return tuple(match["id"] for url in _urls(header) if (match := _PART.fullmatch(url)) is not None)


def _urls(header: str) -> list[str]:
    return header.removeprefix(_FINAL).split()
