"""Resumable Uploads for HTTP on paper: headers in, values out.

Source: draft-ietf-httpbis-resumable-upload, interop versions 3 (draft 01) to 10 (draft 13). A client names the one that
it speaks; one that names none is served as the newest, as it will be when the draft is an RFC. Sections named here are
those of the newest draft. Field values are structured (RFC 9651): what is of another type than it should be counts as
if it were not there.
"""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.policy import HTTP
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

import http_sf

from ..errors import BadHeader, InconsistentLength, UnsupportedBody

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ..standing import Standing

PARTIAL_TYPE: Final = "application/partial-upload"
VERSIONS: Final = range(3, 11)
_VERSION_FIELD: Final = "upload-draft-interop-version"
_EXTENDED_NAME: Final = re.compile(r"filename\*\s*=\s*utf-8'[^']*'(?P<value>[^;\s]+)", re.ASCII | re.IGNORECASE)
_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
"""By one of these, a request has come through a proxy. nginx, for one, takes a 104 for the answer, and the answer for
its body: HTTP/2 clients get an error, and others wait for the end of the connection behind it."""
_INTERIM: Final = "penstock-interim"
"""By which a proxy tells that it passes interim responses on."""
_WITH_LIMITS: Final = 6
"""From this version on, there are limits, Upload-Length, and a media type of appended bytes."""
_WITH_MAX_AGE: Final = 7
_WITH_ZEALOUS_LENGTH: Final = 8
"""From this version on, an upload that exceeds its length becomes invalid."""


class Dialect(NamedTuple):
    """How one version of the draft says things."""

    version: int | None
    """None: the client has not said; the newest is spoken, without interim responses."""
    reached: bool = True
    """Whether interim responses get to the client."""

    @property
    def informs(self) -> bool:
        """Whether the client expects interim responses (section 5), and would get them."""
        return self.version is not None and self.reached

    @property
    def names_parts(self) -> bool:
        """Whether appended bytes have to be declared as `application/partial-upload`."""
        return self.version is None or self.version >= _WITH_LIMITS

    @property
    def asks_bare(self) -> bool:
        """Whether who asks for the state of an upload, or cancels it, must not say any of it (there, 5 and 7)."""
        return self.version is not None and self.version <= _WITH_LIMITS

    @property
    def tells_ends(self) -> bool:
        """Whether an answer says that the upload is complete also where the file was refused (section 4.4.2)."""
        return self.version is None or self.version > _WITH_LIMITS

    @property
    def ends_at_length(self) -> bool:
        """Whether an upload is complete when all of its announced bytes are there, without being told so.

        tus-js-client (4.3) says of the last part of a file that it resumes that it is not the last one.
        """
        return self.version is not None and self.version <= _WITH_LIMITS

    @property
    def invalidates(self) -> bool:
        """Whether an upload whose bytes exceed its length must be given up (section 4.3)."""
        return self.version is None or self.version >= _WITH_ZEALOUS_LENGTH

    @property
    def appended_status(self) -> int:
        """The status of a request that added bytes, but not the last ones."""
        return 204 if self.version is None or self.version > _WITH_LIMITS else 201


class Part(NamedTuple):
    """A request that begins an upload, or adds to one."""

    dialect: Dialect
    last: bool
    """Whether the upload is complete after this."""
    length: int | None
    """How many bytes the upload is to have in the end; None: the request does not tell."""


def dialect_of(headers: Mapping[str, str]) -> Dialect:
    """Return how the client speaks."""
    version = _integer(headers, _VERSION_FIELD)
    reached = headers.get(_INTERIM) == "pass" or not any(name in headers for name in _FORWARDED)
    return Dialect(version if version is not None and version in VERSIONS else None, reached)


def filename_of(headers: Mapping[str, str]) -> str | None:
    """Return the file name that `Content-Disposition` gives (RFC 6266); None if it gives none."""
    disposition = headers.get("content-disposition")
    if disposition is None:
        return None
    if extended := _EXTENDED_NAME.search(disposition):  # counts before the plain one (section 4.3 there)
        return unquote(extended["value"], encoding="utf-8", errors="replace")
    message = EmailMessage(policy=HTTP)
    message["Content-Disposition"] = disposition
    return message.get_filename()


def completes(headers: Mapping[str, str]) -> bool | None:
    """Return whether a request says that it completes its upload; None when it is not a request of this protocol."""
    if dialect_of(headers).version == VERSIONS.start:
        incomplete = _boolean(headers, "upload-incomplete")
        return None if incomplete is None else not incomplete
    return _boolean(headers, "upload-complete")


def is_meant(headers: Mapping[str, str]) -> bool:
    """Return whether a request is one of this protocol, whatever it is about."""
    return _VERSION_FIELD in headers or completes(headers) is not None or _media_type(headers) == PARTIAL_TYPE


def creation(headers: Mapping[str, str], body_bytes: int | None) -> Part:
    """Read a request that begins an upload (section 4.2). `body_bytes`: the length of its body, None: it does not say.

    Raises:
        BadHeader: it does not say whether it completes the upload.
        InconsistentLength: it says two things about the length.
    """
    return _part(headers, 0, body_bytes)


def append(headers: Mapping[str, str], offset: int, body_bytes: int | None) -> Part:
    """Read a request that adds to an upload (section 4.4); `offset` is what `offset_of` returned.

    Raises:
        BadHeader, InconsistentLength: as `creation`.
        UnsupportedBody: the body is not declared as a part of an upload.
    """
    if dialect_of(headers).names_parts and _media_type(headers) != PARTIAL_TYPE:
        sent = headers.get("content-type") or "(none)"
        raise UnsupportedBody(f"Content-Type: {sent[:80]}. Send the bytes as {PARTIAL_TYPE}.", patch=PARTIAL_TYPE)
    return _part(headers, offset, body_bytes)


def offset_of(headers: Mapping[str, str]) -> int:
    """Return where a request's body begins.

    Raises:
        BadHeader: it does not say.
    """
    offset = _integer(headers, "upload-offset")
    if offset is None:
        raise BadHeader("Upload-Offset is missing, or not a whole number. Ask for it with HEAD, and send it along.")
    return offset


def check_bare(headers: Mapping[str, str]) -> None:
    """Make sure, for the versions that insist on it, that a request says nothing of the upload that it is about.

    Raises:
        BadHeader: it does.
    """
    dialect = dialect_of(headers)
    if dialect.asks_bare:
        state = "Upload-Incomplete" if dialect.version == VERSIONS.start else "Upload-Complete"
        for name in ("Upload-Offset", state):
            if name.lower() in headers:
                raise BadHeader(f"{name}: a request that adds no bytes must not say it. Send it with PATCH only.")


def limits(max_size_bytes: int | None, expires_at: datetime | None, now: datetime, dialect: Dialect) -> dict[str, str]:
    """Return the header that tells the limits (section 4.1.4); nothing in versions that have none, or without any."""
    if dialect.version is not None and dialect.version < _WITH_LIMITS:
        return {}
    known = []
    if max_size_bytes is not None:
        known.append(f"max-size={max_size_bytes}")
    if expires_at is not None:
        older = dialect.version is not None and dialect.version < _WITH_MAX_AGE
        known.append(f"{'expires' if older else 'max-age'}={max(0, int((expires_at - now).total_seconds()))}")
    return {"Upload-Limit": ", ".join(known)} if known else {}


def state(standing: Standing, dialect: Dialect) -> dict[str, str]:
    """Return the headers that tell how far an upload has got (section 4.1)."""
    headers = {"Upload-Offset": str(standing.offset), **completeness(dialect, complete=standing.complete)}
    if standing.upload.size_bytes is not None and (dialect.version is None or dialect.version >= _WITH_LIMITS):
        headers["Upload-Length"] = str(standing.upload.size_bytes)
    return headers


def completeness(dialect: Dialect, *, complete: bool) -> dict[str, str]:
    """Return the header that tells whether an upload is complete."""
    if dialect.version == VERSIONS.start:
        return {"Upload-Incomplete": "?0" if complete else "?1"}
    return {"Upload-Complete": "?1" if complete else "?0"}


def options(max_size_bytes: int | None) -> dict[str, str]:
    """Return what OPTIONS tells: that uploads can be resumed, and the limit that holds for all (section 4.1.4)."""
    limit = {} if max_size_bytes is None else {"Upload-Limit": f"max-size={max_size_bytes}"}
    return {"Accept-Patch": PARTIAL_TYPE, **limit}


def echo(dialect: Dialect) -> dict[str, str]:
    """Return the header that tells which version is spoken, where the client asked for one."""
    return {} if dialect.version is None else {"Upload-Draft-Interop-Version": str(dialect.version)}


def _part(headers: Mapping[str, str], offset: int, body_bytes: int | None) -> Part:
    last = completes(headers)
    if last is None:
        raise BadHeader("Upload-Complete is missing, or neither ?0 nor ?1. Send ?1 with the last bytes, ?0 before.")
    length = _integer(headers, "upload-length")
    if last and body_bytes is not None:
        whole = offset + body_bytes
        if length not in (None, whole):
            raise InconsistentLength(f"Upload-Length is {length}, but with this body the upload has {whole} bytes.")
        length = whole
    elif length is not None and offset + (body_bytes or 0) > length:
        raise InconsistentLength(
            f"Upload-Length is {length}, but this body goes on to byte {offset + (body_bytes or 0)}."
        )
    return Part(dialect_of(headers), last, length)


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip(" \t").lower()


def _boolean(headers: Mapping[str, str], name: str) -> bool | None:
    value = _item(headers, name)
    return value if isinstance(value, bool) else None


def _integer(headers: Mapping[str, str], name: str) -> int | None:
    """Return a header's value if it is a whole number, not below zero."""
    value = _item(headers, name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _item(headers: Mapping[str, str], name: str) -> object:
    """Return a header's value; parameters are allowed, and mean nothing here (RFC 9651, section 3.3)."""
    text = headers.get(name)
    if text is None:
        return None
    try:
        parsed = http_sf.parse(text.encode("latin-1", "replace"), tltype="item")
    except http_sf.StructuredFieldError:
        return None
    return parsed[0] if isinstance(parsed, tuple) else None
