"""Serves the bytes of released files, and nobody else's: by upload ID below the API, by name below `/files/`."""

from __future__ import annotations

import secrets
from contextlib import aclosing
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from ..blobs.base import BlobUnavailable
from ..errors import NotFound, PenstockError
from ..uploads.errors import Gone
from ..uploads.file_errors import StillProcessing
from ..uploads.places import Place
from ..uploads.protocols.digests import repr_digest
from ..uploads.protocols.metadata import file_checksum
from ..uploads.upload import Phase, Upload
from .asgi import Answer, Exchange, Receive, Scope, Send, exchange_of, headers_of, send_answer, start
from .preconditions import validators_of
from .problems import answer_to, answer_to_failure, method_not_allowed, problem
from .put import METHODS, name_of, space_of, version_of
from .ranges import Span, spans_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from ..blobs.base import BlobStore
    from .services import Services


class Read(Protocol):
    """Reads bytes as a blob store does."""

    def __call__(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to `stop`."""
        ...


_SAFE: Final = {
    # Whatever an uploader sent must not run in anybody's browser under our name.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
}
_ACTIVE: Final = ("html", "xml", "svg", "script", "css", "wasm", "x-shockwave-flash", "pdf+xml")
"""Parts of media types that browsers run, or take for style, even when the file is to be saved."""
_READING: Final = ("GET", "HEAD")


class Content:
    """The endpoint for bytes."""

    def __init__(self, services: Services) -> None:
        self._files = services.files
        self._blobs = services.blobs
        self._upload = services.upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one GET or HEAD."""
        del receive
        head, headers = scope["method"] == "HEAD", headers_of(scope)
        by_id = scope["path"].startswith("/api/")
        if scope["method"] not in _READING:
            allowed = _READING if by_id else METHODS
            await send_answer(send, method_not_allowed(scope["method"], scope["path"], allowed))
            return
        try:
            version = None if by_id else version_of(scope)
            upload = await (self._upload(scope["path"].split("/")[4]) if by_id else self._named(scope, version))
            check_readable(upload)
            lasting = by_id or version is not None
            answer = await parts_of(self._blobs, upload, headers, head=head, lasting=lasting)
        except PenstockError as error:
            answer = answer_to(error)
        except Exception as error:  # noqa: BLE001  the last line: what went wrong is logged and answered
            answer = answer_to_failure(scope["method"], scope["path"], error)
        if isinstance(answer, Answer):
            await send_answer(send, answer, head=head)
        else:
            await stream(answer, send, self._blobs.read, exchange_of(scope), head=head)

    async def _named(self, scope: Scope, version: str | None) -> Upload:
        return await self._files.get(Place(space_of(scope), name_of(scope)), version=version)


async def parts_of(
    blobs: BlobStore, upload: Upload, headers: Mapping[str, str], *, head: bool, lasting: bool = True
) -> Answer | FileParts:
    """Return what a request asks for of a file that may be read.

    Args:
        blobs: where the bytes are.
        upload: the file.
        headers: the request's.
        head: whether it is a HEAD, of which Range means nothing (RFC 9110, 14.2).
        lasting: whether no other file can ever be at the address.

    Raises:
        BlobUnavailable: it is not there as it should be.
    """
    size = upload.size_bytes or 0
    validators = validators_of(upload, lasting=lasting)
    sent = {**_SAFE, "ETag": validators.tag, **repr_digest(file_checksum(upload.metadata), headers)}
    if upload.ended_at is not None:
        sent["Last-Modified"] = format_datetime(upload.ended_at, usegmt=True)
    if validators.refused(headers):
        return problem(412, "precondition", f"the file is another one by now: its ETag is {validators.tag}.")
    if validators.unchanged(headers):
        return Answer(304, sent)
    wanted = None if head else validators.range_of(headers)
    spans = spans_of(wanted, size)
    if spans is not None and not spans:
        outside = problem(416, "range", f"Range: {wanted} lies outside of the file's {size} bytes.")
        return Answer(416, {**outside.headers, "Content-Range": f"bytes */{size}"}, outside.body)
    if await blobs.length(upload.id) != size:
        raise BlobUnavailable(f"upload {upload.id} is damaged in the storage: it should have {size} bytes")
    sent["Content-Disposition"] = disposition(upload.filename)
    return FileParts(upload, spans, sent)


async def stream(parts: FileParts, send: Send, read: Read, exchange: Exchange | None, *, head: bool) -> None:
    """Send a file, or parts of it; for HEAD requests without the body. `read` is a blob store's.

    Nothing more is read once nobody gets it: the connection is broken, and what is sent is swallowed.
    """
    await start(send, parts.status, parts.headers)
    if not head:
        for prefix, span in parts.pieces:
            if prefix:
                await send({"type": "http.response.body", "body": prefix, "more_body": True})
            async with aclosing(read(parts.upload_id, start=span.start, stop=span.stop)) as pieces:
                async for piece in pieces:
                    if exchange is not None and exchange.unheard:
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"" if head else parts.end})


class FileParts:
    """A response with a file, or with parts of it: one as it is, several as `multipart/byteranges`."""

    def __init__(self, upload: Upload, spans: Sequence[Span] | None, headers: Mapping[str, str]) -> None:
        size, media_type = upload.size_bytes or 0, served_type(upload.media_type)
        self.upload_id = upload.id
        self.size_bytes = size
        self.status = 200 if spans is None else 206
        self.end = b""
        self.headers = {**headers, "Content-Type": media_type}
        if spans is None:
            self.pieces = [(b"", Span(0, size))]
        elif len(spans) == 1:
            self.pieces = [(b"", spans[0])]
            self.headers["Content-Range"] = spans[0].content_range(size)
        else:
            boundary = secrets.token_hex(16)
            self.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
            head = f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: "
            self.pieces = [(f"{head}{span.content_range(size)}\r\n\r\n".encode(), span) for span in spans]
            self.end = f"\r\n--{boundary}--\r\n".encode()
        length = sum(len(prefix) + span.size_bytes for prefix, span in self.pieces) + len(self.end)
        self.headers["Content-Length"] = str(length)


def check_readable(upload: Upload) -> None:
    """Make sure that a file may be read.

    Raises:
        StillProcessing: not yet.
        NotFound: it has not arrived.
        Gone: it never will be, or not any more.
    """
    name = upload.filename
    match upload.phase:
        case Phase.RELEASED:
            return
        case Phase.PROCESSING:
            raise StillProcessing.of(upload)
        case Phase.RECEIVING:
            raise NotFound(f"{name} has not arrived completely. Continue it at /uploads/{upload.id}.")
        case phase:
            why = f": {upload.reason}" if upload.reason else ""
            raise Gone(f"{name} is {phase}{why}. See /api/v1/uploads/{upload.id}.")


def served_type(media_type: str) -> str:
    """Return the media type under which a file is served: what could run in a browser is neutral bytes."""
    if any(part in media_type.lower() for part in _ACTIVE):
        return "application/octet-stream"
    return media_type


def disposition(filename: str) -> str:
    """Return a Content-Disposition that has the file saved under its name (RFC 6266, RFC 8187)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
