"""Serves the bytes of released files, and nobody else's (RFC 9110: ranges in 14, conditions in 13)."""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from ..errors import NotFound, PenstockError
from ..uploads.errors import Gone
from ..uploads.upload import Phase, Upload
from .asgi import Answer, Receive, Scope, Send, headers_of, send_answer, start
from .problems import MethodNotAllowed, StillProcessing, answer_to, problem
from .put import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .services import Services

_SAFE: Final = {
    # Whatever an uploader sent must not run in anybody's browser under our name.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
}
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


class Span(NamedTuple):
    """A part of a file, from `start` up to, not including, `stop`."""

    start: int
    stop: int


class Content:
    """The endpoint for bytes: by upload ID below the API, by name below `/files/`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one GET or HEAD."""
        del receive
        head = scope["method"] == "HEAD"
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed(
                    f"{scope['method']} {scope['path']}: this address takes GET, HEAD and, by name, PUT."
                )
            upload = await self._find(scope)
            await self._send(upload, headers_of(scope), send, head=head)
        except PenstockError as error:
            await send_answer(send, answer_to(error), head=head)

    async def _find(self, scope: Scope) -> Upload:
        path: str = scope["path"]
        if path.startswith("/api/"):
            upload = await self._services.upload(path.split("/")[4])
        else:
            upload = await self._named(name_of(scope))
        if upload.phase is Phase.PROCESSING:
            raise StillProcessing(
                f"{upload.filename} is being processed; see /api/v1/uploads/{upload.id} for how far it is."
            )
        if upload.phase is Phase.RECEIVING:
            raise NotFound(f"{upload.filename} has not arrived completely")
        if upload.phase is not Phase.RELEASED:
            raise Gone(f"{upload.filename} is {upload.phase}{f': {upload.reason}' if upload.reason else ''}.")
        return upload

    async def _named(self, name: str) -> Upload:
        catalogue = self._services.catalogue
        for phase in (Phase.RELEASED, Phase.PROCESSING):
            upload = await catalogue.latest("default", name, phase)
            if upload is not None:
                return upload
        raise NotFound(f"there is no file {name[:80]!r}; /api/v1/files lists those there are")

    async def _send(self, upload: Upload, headers: Mapping[str, str], send: Send, *, head: bool) -> None:
        size = upload.size_bytes or 0
        tag = f'"{upload.id}"'  # bytes never change under an upload ID
        sent = {
            **_SAFE,
            "ETag": tag,
            "Content-Type": upload.media_type,
            "Content-Disposition": disposition(upload.filename),
        }
        if upload.ended_at is not None:
            sent["Last-Modified"] = format_datetime(upload.ended_at, usegmt=True)
        if _matches(headers.get("if-none-match"), tag):
            await send_answer(send, Answer(304, sent), head=True)
            return
        if "if-match" in headers and not _matches(headers["if-match"], tag):
            await send_answer(send, problem(412, "precondition", f"the file's ETag is {tag}"), head=head)
            return
        wanted = headers.get("range") if headers.get("if-range", tag) == tag else None
        span = span_of(wanted, size)
        if span is None:
            unsatisfiable = problem(416, "range", f"{wanted} is outside of the file's {size} bytes")
            headers_out = {**unsatisfiable.headers, "Content-Range": f"bytes */{size}"}
            await send_answer(send, Answer(416, headers_out, unsatisfiable.body), head=head)
            return
        partial = wanted is not None and _RANGE.fullmatch(wanted.strip()) is not None
        if partial:
            sent["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
        sent["Content-Length"] = str(span.stop - span.start)
        await self._stream(upload.id, span, send, 206 if partial else 200, sent, head=head)

    async def _stream(
        self, upload_id: str, span: Span, send: Send, status: int, headers: Mapping[str, str], *, head: bool
    ) -> None:
        await self._services.blobs.length(upload_id)  # gone meanwhile? Then say so before the status is sent
        await start(send, status, headers)
        if not head:
            async for piece in self._services.blobs.read(upload_id, start=span.start, stop=span.stop):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def span_of(header: str | None, size: int) -> Span | None:
    """Return the part of a file that a Range header asks for; None when there is no such part.

    A header that we do not understand, or that asks for several parts, is passed over: the whole file is a right
    answer to it.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return Span(0, size)
    if not found[1]:
        first, last = max(0, size - int(found[2])), size - 1
        return Span(first, size) if int(found[2]) and size else None
    first, last = int(found[1]), int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return Span(0, size)
    return Span(first, min(last + 1, size)) if first < size else None


def disposition(filename: str) -> str:
    """Return a Content-Disposition that has the file saved under its name (RFC 6266, RFC 8187)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _matches(header: str | None, tag: str) -> bool:
    return header is not None and (
        header.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in header.split(",")]
    )
