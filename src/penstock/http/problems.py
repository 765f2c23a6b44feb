"""Errors as responses: a status and a problem document (RFC 9457) that says what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ..blobs.base import BlobMissing, OffsetConflict, StorageFull
from ..delivery.sending.claims import StepOver, WrongToken
from ..errors import InvalidRequest, NotFound, PenstockError, Unavailable
from ..uploads import errors, file_errors
from ..uploads.protocols import tus
from ..uploads.protocols.digests import WISHES
from .asgi import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request

log = structlog.get_logger(__name__)


class ForeignOrigin(InvalidRequest):
    """A web page of another origin has sent a form that it may not send."""

    code = "foreign-origin"


class UnknownHost(InvalidRequest):
    """A request is for a name that is none of this server's."""

    code = "unknown-host"


class ForeignDestination(InvalidRequest):
    """A file is to be moved or copied to another server (RFC 4918, 9.8.5 and 9.9.4)."""

    code = "foreign-destination"


class MethodNotAllowed(InvalidRequest):
    """This address does not take that method."""

    code = "method-not-allowed"


_STATUS: Final[tuple[tuple[type[PenstockError], int], ...]] = (
    (errors.MadeOfParts, 403),
    (ForeignOrigin, 403),
    (WrongToken, 403),
    (NotFound, 404),
    (MethodNotAllowed, 405),
    (errors.Idle, 408),
    (errors.WrongOffset, 409),
    (OffsetConflict, 409),
    (errors.Interrupted, 409),
    (errors.Gone, 410),
    (StepOver, 410),
    (BlobMissing, 410),
    (errors.LengthRequired, 411),
    (errors.VersionMismatch, 412),
    (file_errors.FileThere, 412),
    (file_errors.OtherVersion, 412),
    (errors.TooLarge, 413),
    (errors.FormTooLarge, 413),
    (errors.UnsupportedBody, 415),
    (UnknownHost, 421),
    (errors.Locked, 423),
    (file_errors.StillProcessing, 425),
    (errors.TooMany, 429),
    (errors.DigestMismatch, 400),
    (errors.ChecksumMismatch, 460),
    (ForeignDestination, 502),
    (StorageFull, 507),
    (errors.QuotaExceeded, 507),
    (InvalidRequest, 400),
    (Unavailable, 503),
)
"""The first that fits counts, so special cases come before what they are cases of."""
_RETRY_AFTER_SECONDS: Final = {423: 2, 425: 2, 503: 5, 507: 60}
_REGISTRY: Final = "https://iana.org/assignments/http-problem-types#"
_TYPES: Final = {
    errors.WrongOffset.code: f"{_REGISTRY}mismatching-upload-offset",
    errors.AlreadyComplete.code: f"{_REGISTRY}completed-upload",
    errors.InconsistentLength.code: f"{_REGISTRY}inconsistent-upload-length",
    errors.UnsupportedDigest.code: f"{_REGISTRY}digest-unsupported-algorithms",
    errors.InvalidDigest.code: f"{_REGISTRY}digest-invalid-values",
    errors.DigestMismatch.code: f"{_REGISTRY}digest-mismatched-values",
}
"""Problem types that have names: draft-ietf-httpbis-resumable-upload, -httpapi-digest-fields-problem-types."""
_TITLES: Final = {425: "Too Early", 460: "Checksum Mismatch"}


def status_of(error: PenstockError) -> int:
    """Return the status for an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    *,
    members: Mapping[str, object] | None = None,
) -> Answer:
    """Return a problem document as a response; `members` are added to those that all have."""
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    kind = _TYPES.get(code, "about:blank")
    body = {"type": kind, "title": title, "status": status, "code": code, "detail": detail, **(members or {})}
    sent = {
        "Content-Type": "application/problem+json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",  # it repeats what was asked for
        **(headers or {}),
    }
    if status in _RETRY_AFTER_SECONDS:
        sent.setdefault("Retry-After", str(_RETRY_AFTER_SECONDS[status]))
    return Answer(status, sent, msgspec.json.encode(body))


def answer_to(error: PenstockError) -> Answer:
    """Return the response to an error."""
    status = status_of(error)
    if isinstance(error, errors.WrongOffset):
        members = {"expected-offset": error.offset, "provided-offset": error.sent}
        return problem(status, error.code, str(error), {"Upload-Offset": str(error.offset)}, members=members)
    headers = {"Tus-Version": tus.VERSION} if isinstance(error, errors.VersionMismatch) else {}
    if isinstance(error, errors.UnsupportedBody) and error.patch:
        headers = {"Accept-Patch": error.patch}
    if isinstance(error, errors.UnsupportedDigest):
        headers = WISHES
    if isinstance(error, errors.TooMany):
        headers = {"Retry-After": str(error.retry_after_seconds)}
    return problem(status, error.code, str(error), headers, members=error.facts)


def answer_to_failure(method: str, path: str, error: Exception) -> Answer:
    """Return the response to an error that should not be there, and note it for the operator."""
    log.error("request_failed", method=method, path=path, exc_info=error)
    return problem(500, "internal", "something went wrong here; the server's log tells what. Try again later.")


def method_not_allowed(method: str, path: str, allowed: Sequence[str]) -> Answer:
    """Return the response to a method that an address does not take."""
    takes = ", ".join(allowed)
    answer = answer_to(MethodNotAllowed(f"{method} {path}: this address takes {takes}."))
    return Answer(answer.status, {**answer.headers, "Allow": takes}, answer.body)


def _response(answer: Answer) -> Response:
    return Response(answer.body, status_code=answer.status, headers=dict(answer.headers))


def install(api: FastAPI) -> None:
    """Have FastAPI answer errors in this form, its own included."""

    @api.exception_handler(PenstockError)
    async def ours(request: Request, error: PenstockError) -> Response:
        del request
        return _response(answer_to(error))

    @api.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return _response(answer_to_failure(request.method, request.url.path, error))

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        del request
        found = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'][1:]) or 'the body'}: {one['msg']}" for one in error.errors()
        )
        return _response(problem(422, "invalid-request", f"{found}. See /docs for what this address takes."))

    @api.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        detail = f"{request.method} {request.url.path}: {error.detail}. See /docs for what there is."
        return _response(problem(error.status_code, code, detail, error.headers))
