"""`PUT /files/{name}`: a whole file in one request, as `curl -T` sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from ..errors import PenstockError
from ..uploads import tus
from ..uploads.errors import Disconnected
from .asgi import Answer, Receive, Scope, Send, body_of, headers_of, send_answer
from .problems import answer_to

if TYPE_CHECKING:
    from .services import Services


class Put:
    """The endpoint for plain uploads."""

    def __init__(self, services: Services) -> None:
        self._receiver = services.receiver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a file in; what was cut off is not kept, since PUT has no way to continue it."""
        try:
            answer = await self._receive(scope, receive)
        except Disconnected:
            return
        except PenstockError as error:
            answer = answer_to(error)
        await send_answer(send, answer)

    async def _receive(self, scope: Scope, receive: Receive) -> Answer:
        headers = headers_of(scope)
        name = name_of(scope)
        length = tus.number(headers, "Content-Length") if "content-length" in headers else None
        if length is None and "transfer-encoding" not in headers:
            length = 0
        media_type = headers.get("content-type", "").partition(";")[0].strip()
        upload = await self._receiver.create(name, size_bytes=length, media_type=media_type)
        if length != 0:
            try:
                upload, _ = await self._receiver.receive(upload.id, 0, body_of(receive), length=length, checksum=None)
            except BaseException:
                await self._receiver.terminate(upload.id)
                raise
        location = f"/api/v1/uploads/{upload.id}"
        body = {"id": upload.id, "filename": upload.filename, "size": upload.size_bytes, "status": location}
        sent = {"Location": location, "Content-Type": "application/json"}
        return Answer(202, sent, msgspec.json.encode(body))


def name_of(scope: Scope) -> str:
    """Return the file name in the request's path, decoded once, so that `%2F` is seen as what it is."""
    raw = scope.get("raw_path") or scope["path"].encode()
    return unquote(raw.partition(b"?")[0].decode("latin-1").removeprefix("/files/"), errors="strict")
