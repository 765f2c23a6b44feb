"""`DELETE`, `MOVE` and `COPY` below `/files/`, with the headers of WebDAV (RFC 4918, 9.8, 9.9, 10.3 and 10.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from ..uploads.errors import BadHeader
from ..uploads.file_errors import OtherVersion
from ..uploads.files import Place
from .asgi import Answer, Body, Receive, Scope, Send, headers_of
from .cors import is_foreign
from .endpoint import respond
from .problems import ForeignOrigin
from .put import name_of, space_of, version_of
from .received import accepted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .services import Services

_OVERWRITE: Final = {"T": True, "F": False}


class Named:
    """The endpoint for what changes a file by its path."""

    def __init__(self, services: Services) -> None:
        self._files = services.files
        self._address = services.address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await respond(self._change, scope, receive, send, headers_of(scope))

    async def _change(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        del body
        origin = headers.get("origin")
        if origin is not None and is_foreign(origin, headers, self._address.base(scope, headers)):
            raise ForeignOrigin(f"a page of {origin[:80]} may not change files here; only a page of this server may.")
        place, match = Place(space_of(scope), name_of(scope)), version_in(headers)
        if scope["method"] == "DELETE":
            await self._files.delete(place, version=version_of(scope), match=match)
            return Answer(204)
        target, overwrite = destination_of(headers, place.space), may_overwrite(headers)
        base = self._address.base(scope, headers)
        if scope["method"] == "MOVE":
            new = await self._files.move(place, target, overwrite=overwrite, match=match)
            return Answer(201 if new else 204, {"Location": headers["destination"]})
        standing = await self._files.copy(place, target, overwrite=overwrite, match=match)
        return accepted(standing, base, f"{base}/api/v1/uploads/{standing.upload.id}")


def destination_of(headers: Mapping[str, str], space: str) -> Place:
    """Return where a file is to be, as the header says; in the same space unless it names one.

    Raises:
        BadHeader, UnsafeName: it is missing, or no place for a file here.
    """
    try:
        said = urlsplit(headers.get("destination", ""))
    except ValueError as error:
        raise BadHeader("Destination: no address. Say where the file is to be, below /files/.") from error
    if not said.path.startswith("/files/"):
        raise BadHeader("Destination: missing, or no address below /files/. Say where the file is to be.")
    target: Scope = {"path": said.path, "raw_path": said.path.encode(), "query_string": said.query.encode()}
    there = space_of(target) if "space" in parse_qs(said.query) else space
    return Place.of(there, name_of(target))


def may_overwrite(headers: Mapping[str, str]) -> bool:
    """Return whether there may be a file at the destination already. WebDAV's default is that there may.

    Raises:
        BadHeader: it is neither T nor F.
    """
    if "if-none-match" in headers:
        return False
    said = headers.get("overwrite", "T").strip().upper()
    if said not in _OVERWRITE:
        raise BadHeader(f"Overwrite: {said[:20]!r} is neither T nor F.")
    return _OVERWRITE[said]


def version_in(headers: Mapping[str, str]) -> str | None:
    """Return the version that the file must have; None: any.

    Raises:
        OtherVersion: several are named, or a weak one: none that a file can have for certain.
    """
    said = headers.get("if-match", "*").strip()
    if said == "*":
        return None
    if len(said) < 2 or not (said.startswith('"') and said.endswith('"')):
        raise OtherVersion(f"If-Match: {said[:80]} is no ETag of a file. Take it from its answer.")
    return said[1:-1]
