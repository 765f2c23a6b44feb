"""`POST /files/`: many files in one request, as browsers send a form and `curl -F` does, each one an upload.

They are written as they arrive. A file is taken in once all of it is there, whatever becomes of those after it; there
is no way to continue one, so what was cut off is given up. The answer tells of each what became of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import msgspec

from ..errors import PenstockError
from ..uploads.errors import BadForm, BadHeader, Disconnected, Ending, Idle
from ..uploads.protocols.digests import CONTENT_DIGEST, REPR_DIGEST
from .asgi import Answer, Body, Scope
from .cors import is_foreign
from .form_body import FormBody, Part, boundary_of
from .form_fields import Fields, Wish
from .problems import ForeignOrigin, answer_to, method_not_allowed
from .put import said_by_digests, space_of
from .received import links, told
from .whole import WholeFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..uploads.standing import Standing

PATHS: Final = ("/files", "/files/")
_METHODS: Final = ("OPTIONS", "POST")
_ENDING: Final = (BadForm, Disconnected, Ending, Idle)
"""After these, nothing more can be had from the request."""
_SKIPPED_BYTES: Final = 16 * 1024 * 1024
"""How much of the files that were refused is read past in one request, to get at those after them."""


class Form(WholeFiles):
    """The endpoint for forms."""

    async def _answer(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        if scope["method"] not in _METHODS:
            return method_not_allowed(scope["method"], scope["path"], _METHODS)
        if scope["method"] == "OPTIONS":
            return Answer(204, {"Allow": ", ".join(_METHODS)})
        self._check_origin(scope, headers)
        if CONTENT_DIGEST.lower() in headers or REPR_DIGEST.lower() in headers:
            raise BadHeader("the digest of a form is not verified. Send `checksum` before each file instead.")
        form = FormBody(body, boundary_of(headers.get("content-type", "")))
        space = space_of(scope) if "space" in parse_qs(scope.get("query_string", b"").decode("latin-1")) else None
        taking = _Taking(self, scope, headers, form, Fields(space))
        problem: PenstockError | None = None
        try:
            await taking.all()
        except PenstockError as error:
            problem = error
        return _answer(taking, problem, self._address.base(scope, headers), headers)

    def _check_origin(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Refuse forms of foreign pages: browsers send these without asking first, as they do for all else.

        Raises:
            ForeignOrigin: it is one of those.
        """
        origin = headers.get("origin")
        if origin is None or self._cors.permits(origin):
            return
        if is_foreign(origin, headers, self._address.base(scope, headers)):
            raise ForeignOrigin(
                f"a page of {origin[:80]} may not send files here. `cors_origins` names those that may."
            )

    async def take(
        self, scope: Scope, headers: Mapping[str, str], form: FormBody, part: Part, wish: Wish, space: str
    ) -> Standing:
        """Take one file in; all of it, or nothing."""
        name, path = wish.whereabouts(part.filename)
        return await self._whole(
            scope,
            headers,
            form.rest(),
            name=name,
            path=path,
            length=part.length or None,  # an empty one is taken in only once it has ended, and so has nothing in it
            space=space,
            media_type=wish.media_type,
            metadata=wish.metadata,
        )


class _Taking:
    """What has become of the files of one form so far."""

    def __init__(
        self, endpoint: Form, scope: Scope, headers: Mapping[str, str], form: FormBody, fields: Fields
    ) -> None:
        self.files: list[tuple[Part, Standing | PenstockError]] = []
        self._endpoint = endpoint
        self._scope = scope
        self._headers = headers
        self._form = form
        self._fields = fields
        self._left_bytes = _SKIPPED_BYTES

    async def all(self) -> None:
        """Take in one file after the other.

        Raises:
            BadForm, BadHeader, Disconnected, Ending, Idle: nothing more can be had from the form.
            PenstockError: a file that was refused is too large to be read past.
        """
        while (part := await self._form.part()) is not None:
            if part.filename is None:
                self._fields.add(part.field, await self._form.value())
            else:
                await self._one(part, self._fields.next(part.media_type))
        self._fields.check_used()
        if not self.files:
            raise BadForm("there is no file in the form. Send at least one, with a file name.")

    async def _one(self, part: Part, wish: Wish) -> None:
        if part.filename == "" and wish.name is None and wish.path is None and await self._form.skip(0) is not None:
            return  # a field for a file, and none was chosen
        try:
            with said_by_digests():
                standing = await self._endpoint.take(
                    self._scope, self._headers, self._form, part, wish, self._fields.space
                )
            self.files.append((part, standing))
        except _ENDING as error:
            self.files.append((part, error))
            raise
        except PenstockError as error:
            self.files.append((part, error))
            skipped = await self._form.skip(self._left_bytes)
            if skipped is None:
                raise
            self._left_bytes -= skipped
        else:
            await self._form.skip(0)


def _answer(taking: _Taking, problem: PenstockError | None, base: str, headers: Mapping[str, str]) -> Answer:
    """Return the answer: 202 if all is well, 207 if some is, and a problem otherwise; it always has all files."""
    errors = [found for _, found in taking.files if isinstance(found, PenstockError)]
    taken = [found for _, found in taking.files if not isinstance(found, PenstockError)]
    files = [_shown(part, found, base) for part, found in taking.files]
    if problem is None and not errors:
        if "text/html" in headers.get("accept", ""):
            return Answer(303, {"Location": f"{base}/", "Cache-Control": "no-store"})
        where = {}
        if len(taken) == 1:
            where = {"Location": f"{base}/api/v1/uploads/{taken[0].upload.id}", **links(taken[0], base)}
        return _json(202, where, {"files": files})
    answers = [answer_to(error) for error in ([problem] if problem is not None else errors)]
    if problem is None and (taken or len({answer.status for answer in answers}) > 1):
        return _json(207, {}, {"files": files})
    members = {**msgspec.json.decode(answers[0].body), "files": files}
    return Answer(answers[0].status, answers[0].headers, msgspec.json.encode(members))


def _shown(part: Part, found: Standing | PenstockError, base: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"field": part.field, "filename": part.filename}
    if isinstance(found, PenstockError):
        return {**shown, "problem": msgspec.json.decode(answer_to(found).body)}
    return {**shown, **told(found, base)}


def _json(status: int, headers: Mapping[str, str], body: object) -> Answer:
    sent = {"Content-Type": "application/json", "Cache-Control": "no-store", **headers}
    return Answer(status, sent, msgspec.json.encode(body) + b"\n")
