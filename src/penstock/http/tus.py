"""`/uploads/`: tus 1.0.0, straight on ASGI, since every byte passes here."""

from __future__ import annotations

from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

import structlog

from ..errors import PenstockError
from ..uploads import tus
from ..uploads.errors import Disconnected, TooLarge
from ..uploads.upload import Phase, Upload
from .asgi import Answer, Receive, Scope, Send, base_url, body_of, headers_of, send_answer
from .problems import MethodNotAllowed, answer_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .services import Services

log = structlog.get_logger(__name__)

_COLLECTION: Final = ("OPTIONS", "POST")
_ITEM: Final = ("OPTIONS", "HEAD", "PATCH", "DELETE")


class Tus:
    """The tus endpoint."""

    def __init__(self, services: Services) -> None:
        self._receiver = services.receiver
        self._public_url = services.public_url
        self._options = {
            "Tus-Version": tus.VERSION,
            "Tus-Extension": ",".join(tus.EXTENSIONS),
            "Tus-Checksum-Algorithm": ",".join(sorted(tus.ALGORITHMS)),
        }
        if services.receiver.max_size_bytes is not None:
            self._options["Tus-Max-Size"] = str(services.receiver.max_size_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the order of the checks is: version, method, headers, upload, offset, body."""
        headers = headers_of(scope)
        method = (headers.get("x-http-method-override") or str(scope["method"])).upper()
        try:
            answer = await self._answer(method, scope, headers, receive)
        except Disconnected:
            log.info("upload_interrupted", path=scope["path"])
            return
        except PenstockError as error:
            answer = answer_to(error)
        sent = Answer(answer.status, {**answer.headers, "Tus-Resumable": tus.VERSION}, answer.body)
        await send_answer(send, sent, head=scope["method"] == "HEAD")

    async def _answer(self, method: str, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Answer:
        upload_id = scope["path"].removeprefix("/uploads").strip("/")
        if method == "OPTIONS":
            return Answer(200, self._options)
        tus.check_version(headers)
        match method, bool(upload_id):
            case "POST", False:
                return await self._create(scope, headers, receive)
            case "HEAD", True:
                return await self._head(upload_id)
            case "PATCH", True:
                return await self._patch(scope, upload_id, headers, receive)
            case "DELETE", True:
                await self._receiver.find(upload_id)
                await self._receiver.terminate(upload_id)
                return Answer(204)
        allowed = ", ".join(_ITEM if upload_id else _COLLECTION)
        error = MethodNotAllowed(f"{method} {scope['path']}: this address takes {allowed}.")
        answer = answer_to(error)
        return Answer(answer.status, {**answer.headers, "Allow": allowed}, answer.body)

    async def _create(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Answer:
        size_bytes = tus.upload_length(headers)
        metadata = tus.metadata(headers)
        length = _body_length(headers)
        checksum = tus.checksum(headers)
        if length != 0:
            tus.check_body_type(headers)
        if length is not None and length > size_bytes:
            raise TooLarge(f"the body has {length} bytes, but Upload-Length is {size_bytes}.")
        upload = await self._receiver.create(
            metadata.filename or "upload",
            size_bytes=size_bytes,
            space=metadata.space,
            media_type=metadata.media_type,
            metadata=metadata.raw,
        )
        location = f"{base_url(scope, headers, self._public_url)}/uploads/{upload.id}"
        sent = {"Location": location}
        if length != 0:
            upload, offset = await self._receiver.receive(
                upload.id, 0, body_of(receive), length=length, checksum=checksum
            )
            sent["Upload-Offset"] = str(offset)
        return Answer(201, {**sent, **_facts(upload)})

    async def _head(self, upload_id: str) -> Answer:
        upload, offset = await self._receiver.status(upload_id)
        sent = {"Upload-Offset": str(offset), "Cache-Control": "no-store", **_facts(upload)}
        if upload.size_bytes is not None:
            sent["Upload-Length"] = str(upload.size_bytes)
        if upload.metadata:
            sent["Upload-Metadata"] = upload.metadata
        return Answer(200, sent)

    async def _patch(self, scope: Scope, upload_id: str, headers: Mapping[str, str], receive: Receive) -> Answer:
        del scope
        tus.check_body_type(headers)
        offset = tus.number(headers, "Upload-Offset")
        checksum = tus.checksum(headers)
        upload, stands = await self._receiver.receive(
            upload_id, offset, body_of(receive), length=_body_length(headers), checksum=checksum
        )
        return Answer(204, {"Upload-Offset": str(stands), **_facts(upload)})


def _body_length(headers: Mapping[str, str]) -> int | None:
    """Return how long the body is; None when it is chunked and does not say."""
    if "transfer-encoding" in headers:
        return None
    return tus.number(headers, "Content-Length") if "content-length" in headers else 0


def _facts(upload: Upload) -> dict[str, str]:
    """Return the headers that tell when an upload expires, and where to follow what becomes of it."""
    sent = {"Link": f'</api/v1/uploads/{upload.id}>; rel="status", </api/v1/files/{upload.id}/content>; rel="item"'}
    if upload.phase is Phase.RECEIVING and upload.expires_at is not None:
        sent["Upload-Expires"] = format_datetime(upload.expires_at, usegmt=True)
    return sent
