"""tus 1.0.0 on paper: headers in, values out. Sections named here are those of the protocol's text."""

from __future__ import annotations

import re
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import BadHeader, TooLarge, UnsupportedBody, VersionMismatch
from ..upload import Phase, Upload
from .checksum import ALGORITHMS
from .concat import PARTIAL, check_concat
from .metadata import Metadata, read_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = "1.0.0"
EXTENSIONS: Final = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "expiration",
    "checksum",
    "checksum-trailer",
    "concatenation",
    "concatenation-unfinished",
)
BODY_TYPE: Final = "application/offset+octet-stream"
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
"""Up to an exabyte: any such number fits into 64 bits, and into every database."""
_METHOD: Final = re.compile(r"[A-Za-z]{1,20}", re.ASCII)


class Creation(NamedTuple):
    """A request for a new upload, with or without a body."""

    size_bytes: int | None
    """None: it is told later, or follows from the parts."""
    metadata: Metadata
    with_body: bool
    concat: str
    """`Upload-Concat` as it was sent; empty: the upload stands for itself."""

    @property
    def is_final(self) -> bool:
        """Whether it is to be made of parts."""
        return self.concat not in ("", PARTIAL)


class Continuation(NamedTuple):
    """A request that adds bytes to an upload."""

    offset: int
    size_bytes: int | None
    """How large the upload will be, if this request says so."""


def method_of(method: str, headers: Mapping[str, str]) -> str:
    """Return what a request really asks for (Core, X-HTTP-Method-Override).

    Raises:
        BadHeader: the override is no method.
    """
    override = headers.get("x-http-method-override")
    if override is None:
        return method.upper()
    if not _METHOD.fullmatch(override):
        raise BadHeader(f"X-HTTP-Method-Override: {override[:40]!r} is not a method. Send one such as PATCH.")
    return override.upper()


def check_version(headers: Mapping[str, str]) -> None:
    """Make sure that the client speaks our version (Core, Tus-Resumable).

    Raises:
        VersionMismatch: it does not, or does not say so.
    """
    version = headers.get("tus-resumable")
    if version != VERSION:
        said = f"Tus-Resumable: {version[:40]!r}" if version is not None else "no Tus-Resumable header"
        raise VersionMismatch(f"{said}; this server speaks tus {VERSION}. Send Tus-Resumable: {VERSION}.")


def creation(headers: Mapping[str, str], body_bytes: int | None) -> Creation:
    """Read a POST (Creation, Creation With Upload). `body_bytes` is the length of its body, None if it does not say.

    Raises:
        BadHeader, UnsupportedBody: see there.
        TooLarge: the body is longer than the upload is to be.
    """
    concat = check_concat(headers["upload-concat"]) if "upload-concat" in headers else ""
    size_bytes = _length(headers, is_final=concat not in ("", PARTIAL))
    metadata = read_metadata(headers.get("upload-metadata", ""))
    if concat == PARTIAL and metadata.checksum is not None:
        raise BadHeader(
            "Upload-Metadata: the checksum of a part is not verified. Send that of the whole with the final."
        )
    # A media type without a body is stray, and of a body that does not tell its length nobody knows whether it is one.
    with_body = body_bytes is None or body_bytes > 0
    if with_body:
        check_body_type(headers)
        if concat not in ("", PARTIAL):
            raise BadHeader("an upload that is made of parts takes no bytes of its own. Send it without a body.")
    if body_bytes is not None and size_bytes is not None and body_bytes > size_bytes:
        raise TooLarge(f"the body has {body_bytes} bytes, but Upload-Length is {size_bytes}. Nothing was created.")
    return Creation(size_bytes, metadata, with_body, concat)


def continuation(headers: Mapping[str, str]) -> Continuation:
    """Read a PATCH (Core).

    Raises:
        BadHeader, UnsupportedBody: see there.
    """
    check_body_type(headers, patch=BODY_TYPE)
    size_bytes = number(headers, "Upload-Length") if "upload-length" in headers else None
    return Continuation(number(headers, "Upload-Offset"), size_bytes)


def number(headers: Mapping[str, str], name: str) -> int:
    """Return a header that is a whole number of bytes.

    Raises:
        BadHeader: it is missing or something else.
    """
    text = headers.get(name.lower())
    if text is None:
        raise BadHeader(f"{name} is missing. Send it as a whole number of bytes.")
    if not _NUMBER.fullmatch(text):
        raise BadHeader(f"{name}: {text[:40]!r} is not a whole number of bytes, of 1 to 18 digits.")
    return int(text)


def check_body_type(headers: Mapping[str, str], *, patch: str = "") -> None:
    """Make sure that a body is declared as bytes of an upload; `patch` is as in `UnsupportedBody`.

    Raises:
        UnsupportedBody: it is not.
    """
    sent = headers.get("content-type", "")
    if sent.partition(";")[0].strip(" \t").lower() != BODY_TYPE:
        raise UnsupportedBody(f"Content-Type: {sent[:80] or '(none)'}. Send the bytes as {BODY_TYPE}.", patch=patch)


def options_headers(max_size_bytes: int | None) -> dict[str, str]:
    """Return what OPTIONS tells about this server (Core)."""
    headers = {
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    if max_size_bytes is not None:
        headers["Tus-Max-Size"] = str(max_size_bytes)
    return headers


def status_headers(upload: Upload, offset: int) -> dict[str, str]:
    """Return what HEAD tells about an upload (Core, Creation, Concatenation)."""
    headers = {"Cache-Control": "no-store", **expiry_headers(upload)}
    is_final = bool(upload.parts)
    if not is_final or upload.phase is not Phase.RECEIVING:
        headers["Upload-Offset"] = str(offset)
    if upload.size_bytes is not None:
        headers["Upload-Length"] = str(upload.size_bytes)
    elif not is_final:
        headers["Upload-Defer-Length"] = "1"
    if upload.concat:
        headers["Upload-Concat"] = upload.concat
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    return headers


def expiry_headers(upload: Upload) -> dict[str, str]:
    """Return until when an upload may be continued (Expiration); one that is complete does not expire."""
    if upload.phase is not Phase.RECEIVING or upload.expires_at is None:
        return {}
    return {"Upload-Expires": _date(int(upload.expires_at.timestamp()))}


# Those that are created in the same second expire in the same one.
@lru_cache(maxsize=16)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _length(headers: Mapping[str, str], *, is_final: bool) -> int | None:
    """Return the size that a creation announces; None: it does not, and need not."""
    deferred = headers.get("upload-defer-length")
    if is_final:
        if deferred is not None or "upload-length" in headers:
            raise BadHeader("the length of an upload that is made of parts is theirs. Send no Upload-Length with it.")
        return None
    if deferred is None:
        return number(headers, "Upload-Length")
    if deferred != "1":
        raise BadHeader(f"Upload-Defer-Length: {deferred[:40]!r}. Send 1, or the length as Upload-Length.")
    if "upload-length" in headers:
        raise BadHeader("Upload-Length and Upload-Defer-Length say two things. Send one of them.")
    return None
