"""What a request's head may say; pure. Sections named here are those of RFC 9112."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Headers = list[tuple[bytes, bytes]]
FRAMING: Final = (b"content-length", b"transfer-encoding")
"""The fields that say where a body ends."""
_VERSIONS: Final = ("1.0", "1.1")
_REFUSALS: Final = {
    400: ("Bad Request", "This is no HTTP/1.1 request, or one that can be read in two ways."),
    431: ("Request Header Fields Too Large", "The request's line and headers are too long."),
    501: ("Not Implemented", "Transfer-Encoding: only chunked is known. Send the bytes as they are."),
}
_AUTHORITY: Final = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)


def refusal(version: str, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """Return the status that a request is refused with, whose framing the parser has accepted; None: it is not."""
    if version not in _VERSIONS or (version == "1.1" and not any(name == b"host" for name, _ in headers)):
        return 400  # sections 2.3 and 3.2; a line without a version is one of 1991
    if b"#" in target:  # section 3.2: no target has one; who comes before us may have cut it off there, or not
        return 400
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings in ([], [b"chunked"]):
        return None
    if codings[-1].rpartition(b",")[2].strip() != b"chunked":
        return 400  # section 6.3: nobody can tell where the body ends
    return 501  # section 6.1: a body that was compressed on its way would be kept as it is


def believe_target(target: bytes, headers: Headers) -> None:
    """Have the host that a target names be the one in `Host`, whatever that says (section 3.2.2)."""
    if named := _AUTHORITY.match(target):
        headers[:] = [*((name, value) for name, value in headers if name != b"host"), (b"host", named[1])]


def refusing(status: int) -> bytes:
    """Return the whole answer to a request that is refused, with which the connection ends."""
    title, detail = _REFUSALS[status]
    body = f'{{"title": "{title}", "status": {status}, "detail": "{detail}"}}\n'
    return (
        f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode("latin-1")
