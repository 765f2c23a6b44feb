"""`/uploads/`: tus 1.0.0, straight on ASGI, since every byte passes here.

What a request asks for is checked before its body is touched: method, version, headers, upload, offset, length. Then
an uploader who waits for `100 Continue` has sent nothing in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..uploads.errors import BadHeader
from ..uploads.protocols import resumable, tus
from ..uploads.protocols.digests import REPR_DIGEST, WISHES
from ..uploads.protocols.expected import TUS_FIELDS
from ..uploads.protocols.metadata import UNKNOWN_TYPE
from .asgi import Answer, Body, Scope
from .endpoint import Endpoint
from .problems import method_not_allowed
from .received import links

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..uploads.standing import Standing

ROOT: Final = "/uploads"
_COLLECTION: Final = ("OPTIONS", "POST")
_ITEM: Final = ("OPTIONS", "HEAD", "PATCH", "DELETE")


class Tus(Endpoint):
    """The tus endpoint."""

    def _always(self, method: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        return {"Tus-Resumable": tus.VERSION, **self._cors.headers(method, headers)}

    async def _answer(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        method = tus.method_of(scope["method"], headers)
        upload_id = scope["path"].removeprefix(ROOT).removeprefix("/")
        allowed = _ITEM if upload_id else _COLLECTION
        if method not in allowed:
            return method_not_allowed(method, scope["path"], allowed)
        if method == "OPTIONS":
            most = self._receiver.max_size_bytes
            return Answer(200, {**resumable.options(most), **tus.options_headers(most), **WISHES})
        tus.check_version(headers)
        match method:
            case "POST":
                return await self._create(scope, headers, body)
            case "HEAD":
                return await self._head(scope, headers, upload_id)
            case "PATCH":
                return await self._patch(scope, headers, upload_id, body)
            case _:
                await self._receiver.withdraw(upload_id)
                return Answer(204)

    async def _create(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        wanted = tus.creation(headers, body.length if body.announced else 0)
        if REPR_DIGEST.lower() in headers and not (body.length and body.length == wanted.size_bytes):
            raise BadHeader(
                f"{REPR_DIGEST} is about the whole file, which does not come with this request. Send it with the last "
                "bytes, or as `checksum` in Upload-Metadata."
            )
        expected = body.expected(headers, _FIELDS)
        if expected is not None and wanted.size_bytes == 0:
            expected.check_nothing()
        standing = await self._receiver.create(
            wanted.metadata.filename,
            path=wanted.metadata.path,
            size_bytes=wanted.size_bytes,
            space=wanted.metadata.space,
            media_type=wanted.metadata.media_type or UNKNOWN_TYPE,
            metadata=wanted.metadata.raw,
            initiator_id=headers.get("initiator-id", "")[:_INITIATOR_CHARACTERS],
            owner=self._callers.owner(scope, headers),
            trace_parent=headers.get("traceparent", ""),
            concat=wanted.concat,
        )
        upload_id = standing.upload.id
        if wanted.with_body:
            try:
                standing = await self._receiver.receive(upload_id, 0, body, length=body.length, expected=expected)
            except BaseException:
                # Its address was never told to anybody, so nobody could go on with what arrived.
                await self._receiver.terminate(upload_id)
                raise
        location = f"{self._address.base(scope, headers)}{ROOT}/{upload_id}"
        sent = {"Location": location}
        if standing.complete or not wanted.is_final:
            sent["Upload-Offset"] = str(standing.offset)
        return Answer(201, {**sent, **self._whereabouts(scope, headers, standing)})

    async def _head(self, scope: Scope, headers: Mapping[str, str], upload_id: str) -> Answer:
        standing = await self._receiver.status(upload_id)
        known = tus.status_headers(standing.upload, standing.offset)
        return Answer(200, {**known, **self._whereabouts(scope, headers, standing)})

    async def _patch(self, scope: Scope, headers: Mapping[str, str], upload_id: str, body: Body) -> Answer:
        wanted = tus.continuation(headers)
        standing = await self._receiver.receive(
            upload_id,
            wanted.offset,
            body,
            length=body.length,
            size_bytes=wanted.size_bytes,
            expected=body.expected(headers, _FIELDS),
            trace_parent=headers.get("traceparent", ""),
        )
        sent = {"Upload-Offset": str(standing.offset)}
        return Answer(204, {**sent, **self._whereabouts(scope, headers, standing)})

    def _whereabouts(self, scope: Scope, headers: Mapping[str, str], standing: Standing) -> dict[str, str]:
        """Return until when to continue; or, once all is there, where to follow what becomes of it (RFC 8288)."""
        if not standing.complete:
            return tus.expiry_headers(standing.upload)
        return links(standing, self._address.base(scope, headers))


_INITIATOR_CHARACTERS: Final = 200
_FIELDS: Final = (*TUS_FIELDS, REPR_DIGEST)
