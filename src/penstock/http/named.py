"""`DELETE`, `MOVE` and `COPY` below `/files/`, with the headers of WebDAV (RFC 4918, 9.8, 9.9, 10.3 and 10.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..uploads.errors import BadHeader
from ..uploads.places import Place
from .asgi import Answer, Body, Receive, Scope, Send, headers_of
from .cors import is_foreign
from .destination import address_of, destination_of
from .endpoint import respond
from .preconditions import version_meant
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
        self._callers = services.callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await respond(self._change, scope, receive, send, headers_of(scope))

    async def _change(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        del body
        base, origin = self._address.base(scope, headers), headers.get("origin")
        if origin is not None and is_foreign(origin, headers, base):
            raise ForeignOrigin(f"a page of {origin[:80]} may not change files here; only a page of this server may.")
        place = Place(space_of(scope), name_of(scope))
        if scope["method"] == "DELETE":
            version = version_of(scope)
            match = await version_meant(self._files, place, headers, version)
            await self._files.delete(place, version=version, match=match)
            return Answer(204)
        target, overwrite = destination_of(headers, place.space, base), may_overwrite(headers)
        match = await version_meant(self._files, place, headers, None)
        if scope["method"] == "MOVE":
            new = await self._files.move(place, target, overwrite=overwrite, match=match)
            return Answer(201 if new else 204, {"Location": address_of(target, base)})
        standing = await self._files.copy(
            place,
            target,
            overwrite=overwrite,
            match=match,
            owner=self._callers.owner(scope, headers),
            trace_parent=headers.get("traceparent", ""),
        )
        return accepted(standing, base, f"{base}/api/v1/uploads/{standing.upload.id}")


def may_overwrite(headers: Mapping[str, str]) -> bool:
    """Return whether there may be a file at the destination already. WebDAV's default is that there may.

    Raises:
        BadHeader: it is neither T nor F.
    """
    said = headers.get("overwrite", "T").strip().upper()
    if said not in _OVERWRITE:
        raise BadHeader(f"Overwrite: {said[:20]!r} is neither T nor F.")
    return _OVERWRITE[said]
