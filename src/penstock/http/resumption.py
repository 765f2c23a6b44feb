"""Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload) at `/uploads/`, and for `PUT /files/{name}`.

A client learns the address of its upload while it still sends the first request, by an interim response, and so can go
on with whatever is interrupted. What the last request is answered is what a plain upload would have been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import NotFound
from ..uploads.errors import UNKEPT, AlreadyComplete, InconsistentLength, TooLarge, WrongOffset
from ..uploads.file_errors import UNMET
from ..uploads.places import Place
from ..uploads.protocols import resumable
from ..uploads.protocols.digests import CONTENT_DIGEST, REPR_DIGEST
from ..uploads.protocols.metadata import media_type_of
from ..uploads.protocols.resumable import Part
from ..uploads.standing import Standing
from .asgi import Answer, Body, Scope, exchange_of
from .endpoint import Endpoint
from .preconditions import check_upload
from .problems import answer_to, method_not_allowed
from .put import check_framed, check_whole, metadata_of, name_of, said_by_digests, space_of
from .received import accepted, links
from .telling import Telling
from .tus import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping

    from ..errors import PenstockError
    from ..uploads.protocols.expected import Expected
    from ..uploads.protocols.resumable import Dialect
    from .services import Services

_COLLECTION: Final = ("OPTIONS", "POST", "PUT", "PATCH")
_ITEM: Final = ("OPTIONS", "HEAD", "GET", "PATCH", "DELETE")


class Resumable(Endpoint):
    """The endpoint."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._files = services.files
        self._clock = services.clock

    def _always(self, method: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        return {**resumable.echo(resumable.dialect_of(headers)), **self._cors.headers(method, headers)}

    async def is_owner(self, upload_id: str) -> bool:
        """Return whether an upload was begun by this protocol; of one that nobody knows, this is who says so."""
        try:
            return (await self._receiver.known(upload_id)).explicit_end
        except NotFound:
            return True

    async def _answer(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        method, upload_id = scope["method"], ""
        if scope["path"].startswith(ROOT):
            upload_id = scope["path"].removeprefix(ROOT).removeprefix("/")
        allowed = _ITEM if upload_id else _COLLECTION
        if method not in allowed:
            return method_not_allowed(method, scope["path"], allowed)
        if not upload_id:
            return await self._create(scope, headers, body)
        if method == "PATCH":
            return await self._append(scope, headers, upload_id, body)
        resumable.check_bare(headers)
        if method == "DELETE":
            await self._receiver.withdraw(upload_id)
            return Answer(204)
        return await self._status(scope, headers, upload_id)

    async def _create(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        check_whole(headers)
        part = resumable.creation(headers, body.length)
        expected = _expected(headers, body, part, created=True)
        space, path = space_of(scope), None if scope["path"].startswith(ROOT) else name_of(scope)
        proviso = None if path is None else await check_upload(self._files, Place(space, path), headers)
        if part.last:
            check_framed(scope, headers)
        try:
            standing = await self._receiver.create(
                resumable.filename_of(headers),
                path=path,
                size_bytes=part.length,
                space=space,
                media_type=media_type_of(headers.get("content-type", "")),
                owner=self._callers.owner(scope, headers),
                metadata=metadata_of(headers),
                trace_parent=headers.get("traceparent", ""),
                explicit_end=True,
                proviso=proviso,
            )
        except TooLarge as error:
            return self._too_large(error, part.dialect)
        exchange = exchange_of(scope) if part.dialect.informs else None
        location = self._location(scope, headers, standing)
        if exchange is not None:
            limits = self._limits(standing, part.dialect)
            exchange.inform(104, {"Location": location, **limits, **resumable.echo(part.dialect)})
        return await self._take(scope, headers, standing, body, part, expected, created=True)

    async def _append(self, scope: Scope, headers: Mapping[str, str], upload_id: str, body: Body) -> Answer:
        offset = resumable.offset_of(headers)
        part = resumable.append(headers, offset, body.length)
        expected = _expected(headers, body, part, created=False)
        standing = Standing.of(await self._receiver.find(upload_id), 0)
        if standing.complete:
            if body.length != 0:
                raise InconsistentLength(f"upload {upload_id} is complete: nothing can be added to it.")
            raise AlreadyComplete(f"upload {upload_id} is complete already. Its status tells what becomes of it.")
        return await self._take(scope, headers, standing, body, part, expected, offset=offset)

    async def _take(
        self,
        scope: Scope,
        headers: Mapping[str, str],
        standing: Standing,
        body: Body,
        part: Part,
        expected: Expected | None,
        *,
        offset: int = 0,
        created: bool = False,
    ) -> Answer:
        upload_id, dialect = standing.upload.id, part.dialect
        bytes_ = self._telling(body, upload_id, scope, dialect)
        try:
            with said_by_digests():
                standing = await self._receive(upload_id, offset, bytes_, body.length, part, headers, expected)
                standing = await self._ended_at_length(standing, headers, dialect)
        except WrongOffset as error:
            wrong = answer_to(error)
            return Answer(
                wrong.status, {**wrong.headers, **resumable.completeness(dialect, complete=False)}, wrong.body
            )
        except (*UNKEPT, *UNMET) as error:
            if await self._is_refused(upload_id):
                return _refused(error, dialect)
            if created:
                await self._receiver.terminate(upload_id)
            raise
        except TooLarge as error:
            if (await self._receiver.find(upload_id)).size_bytes is None:
                return self._too_large(error, dialect)
            if dialect.invalidates:
                await self._receiver.terminate(upload_id)
            raise InconsistentLength(str(error)) from error
        location = self._location(scope, headers, standing)
        far = resumable.state(standing, dialect)
        if standing.complete:
            answer = accepted(standing, self._address.base(scope, headers), location)
            return Answer(answer.status, {**answer.headers, **far}, answer.body)
        limits = self._limits(standing, dialect)
        return Answer(201 if created else dialect.appended_status, {"Location": location, **far, **limits})

    async def _receive(
        self,
        upload_id: str,
        offset: int,
        body: AsyncIterable[bytes],
        length: int | None,
        part: Part,
        headers: Mapping[str, str],
        expected: Expected | None = None,
    ) -> Standing:
        return await self._receiver.receive(
            upload_id,
            offset,
            body,
            length=length,
            size_bytes=part.length,
            ends_upload=part.last,
            expected=expected,
            trace_parent=headers.get("traceparent", ""),
        )

    async def _ended_at_length(self, standing: Standing, headers: Mapping[str, str], dialect: Dialect) -> Standing:
        """Complete an upload of which all has arrived, for clients that take that for its end; return it."""
        if not dialect.ends_at_length or standing.complete or not standing.full:
            return standing
        last = Part(dialect, last=True, length=None)
        return await self._receive(standing.upload.id, standing.offset, _nothing(), 0, last, headers)

    async def _is_refused(self, upload_id: str) -> bool:
        """Tell whether an upload came to its end, and its file was not taken."""
        return not (await self._receiver.known(upload_id)).phase.holds_bytes

    async def _status(self, scope: Scope, headers: Mapping[str, str], upload_id: str) -> Answer:
        dialect = resumable.dialect_of(headers)
        standing = await self._ended_at_length(await self._receiver.status(upload_id), headers, dialect)
        found = {**resumable.state(standing, dialect), "Cache-Control": "no-store"}
        more = self._links(scope, headers, standing) if standing.complete else self._limits(standing, dialect)
        return Answer(204, {**found, **more})

    def _telling(self, body: Body, upload_id: str, scope: Scope, dialect: Dialect) -> Body | Telling:
        """Return a body of which the client is told how much is kept, even if this process dies."""
        exchange, told = exchange_of(scope), 0
        if exchange is None or not dialect.informs:
            return body

        def tell() -> None:
            nonlocal told
            if (written := self._receiver.written(upload_id) or 0) > told:
                told = written
                exchange.inform(104, {"Upload-Offset": str(written), **resumable.echo(dialect)})

        return Telling(body, tell)

    def _too_large(self, error: PenstockError, dialect: Dialect) -> Answer:
        answer = answer_to(error)
        most = error.facts.get("limit_bytes")
        largest = most if isinstance(most, int) else self._receiver.max_size_bytes
        limits = resumable.limits(largest, None, self._clock.now(), dialect)
        return Answer(answer.status, {**answer.headers, **limits}, answer.body)

    def _limits(self, standing: Standing, dialect: Dialect) -> dict[str, str]:
        upload = standing.upload
        return resumable.limits(self._receiver.largest(upload), upload.expires_at, self._clock.now(), dialect)

    def _location(self, scope: Scope, headers: Mapping[str, str], standing: Standing) -> str:
        return f"{self._address.base(scope, headers)}{ROOT}/{standing.upload.id}"

    def _links(self, scope: Scope, headers: Mapping[str, str], standing: Standing) -> dict[str, str]:
        return links(standing, self._address.base(scope, headers))


def _expected(headers: Mapping[str, str], body: Body, part: Part, *, created: bool) -> Expected | None:
    """Return what is expected of a request: of its body, and, if it is the last one, of the whole file.

    What the first request says of the whole file in its headers is kept until the last.
    """
    whole = (REPR_DIGEST,) if part.last else ()
    at_once = (CONTENT_DIGEST,) if created else (CONTENT_DIGEST, *whole)
    return body.expected(headers, at_once, later=(CONTENT_DIGEST, *whole))


def _refused(error: PenstockError, dialect: Dialect) -> Answer:
    """Return the answer to the last request of an upload whose file is not taken: to go on with it is of no use."""
    answer = answer_to(error)
    ended = resumable.completeness(dialect, complete=True) if dialect.tells_ends else {}
    return Answer(answer.status, {**answer.headers, **ended}, answer.body)


async def _nothing() -> AsyncIterator[bytes]:
    nothing: bytes
    for nothing in ():
        yield nothing
