"""The manner `form`: `POST` of a form (`multipart/form-data`, RFC 7578) to the worker's address, as browsers do it.

The fields come first, then the file. A form cannot go on from the middle: what broke off is sent again, and the field
`start`, the ID of the start event, tells that it is the same one.
"""

from __future__ import annotations

import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from .parcel import Manner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .line import Line
    from .parcel import Parcel

_ESCAPES: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""As browsers do it (WHATWG)."""


class Posting(Manner):
    """Sends the whole file each time."""

    async def send(self, line: Line, parcel: Parcel) -> str:
        """Send the form."""
        boundary = secrets.token_hex(16)
        before, after = form_around(boundary, parcel.facts(), parcel.start.filename)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(before) + parcel.size_bytes + len(after)),
        }
        (await line.ask("POST", line.url, headers, _body(before, parcel, after))).check()
        return f"{line.url.rstrip('/')}/{parcel.start_id}"


def form_around(boundary: str, fields: dict[str, str], filename: str) -> tuple[bytes, bytes]:
    """Return what of a form comes before a file's bytes, and what comes after."""
    head = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    file = f'{head}"file"; filename="{filename.translate(_ESCAPES)}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    before = "".join([*parts, file]).encode("utf-8", "replace")
    return before, f"\r\n--{boundary}--\r\n".encode()


async def _body(before: bytes, parcel: Parcel, after: bytes) -> AsyncGenerator[bytes, None]:
    yield before
    async with aclosing(parcel.read(0)) as pieces:
        async for piece in pieces:
            yield piece
    yield after
