"""`PUT /files/{name}`: a whole file in one request, as `curl -T` sends it.

All or nothing: there is no way to continue a PUT, so one that was cut off is given up, and its bytes are freed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote_to_bytes

from ..uploads.errors import BadHeader
from ..uploads.metadata import checked_space, media_type_of
from ..uploads.names import UnsafeName
from .asgi import Answer, Body, Receive, Scope, Send
from .endpoint import respond
from .received import accepted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .services import Services

_ROOT: Final = "/files/"
_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Put:
    """The endpoint for plain uploads."""

    def __init__(self, services: Services) -> None:
        self._receiver = services.receiver
        self._address = services.address
        self._callers = services.callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a file in; it is not there for readers before its steps have passed it, hence 202."""
        await respond(self._receive, scope, receive, send)

    async def _receive(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        if "content-range" in headers:
            raise BadHeader("Content-Range: a part of a file cannot be PUT. Send all of it, or use tus at /uploads/.")
        standing = await self._receiver.create(
            name_of(scope),
            size_bytes=body.length,
            space=space_of(scope),
            media_type=media_type_of(headers.get("content-type", "")),
            owner=self._callers.owner(scope, headers),
            trace_parent=headers.get("traceparent", ""),
        )
        upload_id = standing.upload.id
        if body.length != 0:
            try:
                standing = await self._receiver.receive(upload_id, 0, body, length=body.length, ends_upload=True)
            except BaseException:
                await self._receiver.terminate(upload_id)
                raise
        base = self._address.base(scope, headers)
        return accepted(standing, base, f"{base}/api/v1/uploads/{upload_id}")


def name_of(scope: Scope) -> str:
    """Return the file name in the request's path, decoded once, so that `%2F` is seen as what it is.

    Raises:
        UnsafeName: it is not UTF-8, or not percent-encoded as it should be.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    encoded = raw.partition(b"?")[0].removeprefix(_ROOT.encode())
    try:
        if _PERCENT.search(encoded):
            raise UnsafeName(f"file name {encoded[:80]!r} has a % that encodes nothing. Send % itself as %25.")
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        raise UnsafeName(f"file name {encoded[:80]!r} is not UTF-8. Encode it so.") from error


def space_of(scope: Scope) -> str:
    """Return the space that the query names, or the default one.

    Raises:
        BadHeader: it cannot be the name of a space.
    """
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return checked_space(query.get("space", ["default"])[-1])
