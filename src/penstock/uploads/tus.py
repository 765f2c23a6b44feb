"""tus 1.0.0 on paper: headers in, values out. Sections named here are those of the protocol's text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import InvalidRequest
from .errors import ChecksumMismatch, UnsupportedChecksum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERSION: Final = "1.0.0"
EXTENSIONS: Final = ("creation", "creation-with-upload", "termination", "expiration", "checksum")
BODY_TYPE: Final = "application/offset+octet-stream"
ALGORITHMS: Final[Mapping[str, Callable[[], Any]]] = {
    name: getattr(hashlib, name) for name in ("md5", "sha1", "sha256", "sha512")
}
"""For `Upload-Checksum`; sha1 is the one that every server has to know."""
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+", re.ASCII)


class VersionMismatch(InvalidRequest):
    """The client speaks another version, or does not say which."""

    code = "tus-version"


class UnsupportedBody(InvalidRequest):
    """The body's media type is not the one for bytes of an upload."""

    code = "unsupported-body"


class BadHeader(InvalidRequest):
    """A header is missing or cannot be read."""

    code = "bad-header"


class Metadata(NamedTuple):
    """What `Upload-Metadata` says to us."""

    filename: str
    """Empty when it is not given."""
    media_type: str
    space: str
    raw: str
    """As it was sent."""


class Checksum(NamedTuple):
    """What the body of a request must hash to."""

    algorithm: str
    digest: bytes

    def check(self, actual: bytes) -> None:
        """Compare.

        Raises:
            ChecksumMismatch: they differ.
        """
        if actual != self.digest:
            raise ChecksumMismatch(
                f"the body's {self.algorithm} is {base64.b64encode(actual).decode()}, not the one announced. "
                "It was not kept: send the same bytes again."
            )


def check_version(headers: Mapping[str, str]) -> None:
    """Make sure that the client speaks our version (Core protocol, Tus-Resumable).

    Raises:
        VersionMismatch: it does not, or does not say so.
    """
    version = headers.get("tus-resumable")
    if version != VERSION:
        said = f"Tus-Resumable: {version}" if version else "no Tus-Resumable header"
        raise VersionMismatch(f"{said}; this server speaks tus {VERSION}. Send Tus-Resumable: {VERSION}.")


def number(headers: Mapping[str, str], name: str) -> int:
    """Return a header that is a whole number, 0 or more.

    Raises:
        BadHeader: it is missing or something else.
    """
    text = headers.get(name.lower())
    if text is None:
        raise BadHeader(f"{name} is missing. Send it as a whole number of bytes.")
    if not _NUMBER.fullmatch(text):
        raise BadHeader(f"{name}: {text[:40]!r} is not a whole number of bytes from 0 up to 18 digits")
    return int(text)


def upload_length(headers: Mapping[str, str]) -> int:
    """Return how many bytes a new upload will have (Creation).

    Raises:
        BadHeader: it is not given, or put off, or the upload is to be a part of another.
    """
    if "upload-concat" in headers:
        raise BadHeader("Upload-Concat: this server does not join uploads. Send the file as one upload.")
    if "upload-defer-length" in headers:
        raise BadHeader("Upload-Defer-Length: this server wants the size at creation. Send Upload-Length.")
    return number(headers, "Upload-Length")


def check_body_type(headers: Mapping[str, str]) -> None:
    """Make sure that a body is declared as bytes of an upload.

    Raises:
        UnsupportedBody: it is not.
    """
    sent = headers.get("content-type", "")
    if sent.partition(";")[0].strip().lower() != BODY_TYPE:
        raise UnsupportedBody(f"Content-Type: {sent[:80] or '(none)'}. Send the bytes as {BODY_TYPE}.")


def metadata(headers: Mapping[str, str]) -> Metadata:
    """Read `Upload-Metadata` (Creation): pairs of a key and a base64 value, separated by commas.

    Raises:
        BadHeader: a key is empty, repeated or has forbidden characters, or a value is not base64.
    """
    raw = headers.get("upload-metadata", "")
    values: dict[str, bytes] = {}
    for item in raw.split(",") if raw.strip() else []:
        key, _, encoded = item.strip().partition(" ")
        if not _KEY.fullmatch(key) or key in values:
            raise BadHeader(f"Upload-Metadata: key {key[:40]!r} is empty, repeated, or not plain ASCII")
        try:
            values[key] = base64.b64decode(encoded.strip(), validate=True)
        except binascii.Error as error:
            raise BadHeader(f"Upload-Metadata: the value of {key!r} is not base64: {error}") from error
    return Metadata(
        filename=_text(values, "filename", "name"),
        media_type=_media_type(_text(values, "filetype", "type")),
        space=_text(values, "space") or "default",
        raw=raw,
    )


def checksum(headers: Mapping[str, str]) -> Checksum | None:
    """Read `Upload-Checksum` (Checksum); None when it is not sent.

    Raises:
        UnsupportedChecksum: an unknown algorithm, or not base64.
        ChecksumMismatch: the digest has a length that no body can have.
    """
    header = headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise UnsupportedChecksum(
            f"Upload-Checksum: {algorithm[:20]!r}. Choose one of {', '.join(sorted(ALGORITHMS))}."
        )
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error as error:
        raise UnsupportedChecksum(f"Upload-Checksum: the digest is not base64: {error}") from error
    if len(digest) != ALGORITHMS[algorithm]().digest_size:
        raise ChecksumMismatch(f"Upload-Checksum: {len(digest)} bytes are no {algorithm} digest")
    return Checksum(algorithm, digest)


def _text(values: Mapping[str, bytes], *keys: str) -> str:
    for key in keys:
        if values.get(key):
            try:
                return values[key].decode()
            except UnicodeDecodeError as error:
                raise BadHeader(f"Upload-Metadata: the value of {key!r} is not UTF-8") from error
    return ""


_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}", re.ASCII)


def _media_type(text: str) -> str:
    return text if _MEDIA_TYPE.fullmatch(text) else "application/octet-stream"
