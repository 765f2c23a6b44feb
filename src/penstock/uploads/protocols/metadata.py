"""`Upload-Metadata` of tus (Creation): pairs of a key and a base64 value, separated by commas."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import BadHeader
from .integrity import KEY, read_file_checksum
from .names import misleading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .checksum import Checksum

LONGEST_BYTES: Final = 16 * 1024
"""Kept with every upload and sent back with every HEAD, so it is bounded."""
UNKNOWN_TYPE: Final = "application/octet-stream"
_KEY: Final = re.compile(r"[\x21-\x2b\x2d-\x7e]+", re.ASCII)
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}", re.ASCII)
_LONGEST_SPACE: Final = 200


class Metadata(NamedTuple):
    """What the header says to us."""

    filename: str | None
    """None when no name was given; empty when an empty one was."""
    media_type: str
    space: str
    checksum: Checksum | None
    """That of the whole file, which it is compared with before it is processed."""
    raw: str
    """As it was sent."""
    path: str | None = None
    """Where in the space the file shall be; None: in no folder."""


def read_metadata(raw: str) -> Metadata:
    """Read the header's value; clients call a file's name `filename` or `name`, its type `filetype` or `type`.

    A `path` that ends with a slash is the folder that the file is to be in.

    Raises:
        BadHeader: a key is empty, repeated or has forbidden characters, or a value is not base64.
    """
    if len(raw) > LONGEST_BYTES:
        raise BadHeader(
            f"Upload-Metadata: {len(raw)} bytes are more than the {LONGEST_BYTES} that are kept. Send less."
        )
    values = _pairs(raw)
    filename, path = _first(values, "filename", "name"), _first(values, "path")
    return Metadata(
        filename=filename,
        media_type=media_type_of(_first(values, "filetype", "type") or ""),
        space=checked_space(_first(values, "space") or "default"),
        checksum=_file_checksum(values),
        raw=raw,
        path=f"{path}{filename or ''}" if path and path.endswith("/") else path or None,
    )


def file_checksum(raw: str) -> Checksum | None:
    """Return the checksum of the whole file that an accepted header names, if it does."""
    return _file_checksum(_pairs(raw)) if KEY in raw else None


def media_type_of(text: str) -> str:
    """Return the media type that an uploader named, without parameters; a neutral one if it is none."""
    plain = text.partition(";")[0].strip().lower()
    return plain if _MEDIA_TYPE.fullmatch(plain) else UNKNOWN_TYPE


def checked_space(text: str) -> str:
    """Return the name of a space.

    Raises:
        BadHeader: it is too long, or not printable.
    """
    if not 1 <= len(text) <= _LONGEST_SPACE:
        raise BadHeader(f"space {text[:80]!r}: the name of a space has 1 to {_LONGEST_SPACE} characters.")
    if reason := misleading(text):
        raise BadHeader(f"space {text[:80]!r}: {reason}. Choose another name.")
    return text


def _pairs(raw: str) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    for item in raw.split(",") if raw.strip(" \t") else []:
        key, _, encoded = item.strip(" \t").partition(" ")
        if not _KEY.fullmatch(key):
            raise BadHeader(f"Upload-Metadata: key {key[:40]!r} is empty, or not plain ASCII. Choose another.")
        if key in values:
            raise BadHeader(f"Upload-Metadata: key {key[:40]!r} is there twice. Send it once.")
        try:
            values[key] = base64.b64decode(encoded.strip(" \t"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadHeader(
                f"Upload-Metadata: the value of {key[:40]!r} is not base64: {error}. Encode it so."
            ) from error
    return values


def _file_checksum(values: Mapping[str, bytes]) -> Checksum | None:
    text = _first(values, KEY)
    return None if text is None else read_file_checksum(text)


def _first(values: Mapping[str, bytes], *keys: str) -> str | None:
    for key in keys:
        if key in values:
            try:
                return values[key].decode()
            except UnicodeDecodeError as error:
                raise BadHeader(f"Upload-Metadata: the value of {key!r} is not UTF-8. Encode it so.") from error
    return None
