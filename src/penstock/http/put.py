"""`PUT /files/{name}`: a whole file in one request, as `curl -T` sends it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote_to_bytes

from ..uploads.errors import BadHeader, ChecksumMismatch, DigestMismatch, LengthRequired
from ..uploads.places import Place
from ..uploads.protocols.digests import CONTENT_DIGEST, REPR_DIGEST, WISHES, as_metadata, read_digests
from ..uploads.protocols.metadata import checked_space, media_type_of
from ..uploads.protocols.names import UnsafeName
from ..uploads.protocols.resumable import options
from .asgi import Answer, Body, Scope
from .preconditions import check_upload
from .received import accepted
from .whole import WholeFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..uploads.protocols.expected import Expected
    from .services import Services

_ROOT: Final = "/files/"
CHANGING: Final = ("COPY", "DELETE", "MOVE")
"""Methods that change a file by its path (`named`)."""
METHODS: Final = ("OPTIONS", "GET", "HEAD", "PUT", *CHANGING)
_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Put(WholeFiles):
    """The endpoint for plain uploads. A file is not there for readers before its steps have passed it, hence 202."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._files = services.files

    async def _answer(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        if scope["method"] == "OPTIONS":
            resumable = options(self._receiver.max_size_bytes)
            return Answer(204, {"Allow": ", ".join(METHODS), **resumable, **WISHES})
        return await self._receive(scope, headers, body)

    async def _receive(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        check_whole(headers)
        expected = body.expected(headers, (CONTENT_DIGEST,), later=(CONTENT_DIGEST, REPR_DIGEST))
        if expected is not None and body.length == 0:
            expected.check_nothing()
        with said_by_digests():
            return await self._take(scope, headers, body, expected)

    async def _take(self, scope: Scope, headers: Mapping[str, str], body: Body, expected: Expected | None) -> Answer:
        place = Place(space_of(scope), name_of(scope))
        proviso = await check_upload(self._files, place, headers)
        check_framed(scope, headers)
        standing = await self._whole(
            scope,
            headers,
            body,
            path=place.path,
            length=body.length,
            space=place.space,
            media_type=media_type_of(headers.get("content-type", "")),
            metadata=metadata_of(headers),
            expected=expected,
            proviso=proviso,
        )
        base = self._address.base(scope, headers)
        return accepted(standing, base, f"{base}/api/v1/uploads/{standing.upload.id}")


def check_whole(headers: Mapping[str, str]) -> None:
    """Make sure that what is PUT is not only a part of a file (RFC 9110, 14.5).

    Raises:
        BadHeader: it is.
    """
    if "content-range" in headers:
        raise BadHeader("Content-Range: a part of a file cannot be PUT. Send all of it, or use tus at /uploads/.")


def check_framed(scope: Scope, headers: Mapping[str, str]) -> None:
    """Make sure that a request says where its body ends, as one of HTTP/1 need not.

    Without that it has none, by RFC 9112 (6.3); but clients of old send what they have, and close the connection. Their
    file would be taken for an empty one.

    Raises:
        LengthRequired: it does not.
    """
    if scope["http_version"].startswith("1") and not headers.keys() & {"content-length", "transfer-encoding"}:
        raise LengthRequired("the request does not say how long the file is. Send Content-Length; 0 for an empty file.")


@contextmanager
def said_by_digests() -> Iterator[None]:
    """Say of a whole file that it is another one as RFC 9530 would have it, and not as tus does.

    Raises:
        DigestMismatch: it is.
    """
    try:
        yield
    except DigestMismatch:
        raise
    except ChecksumMismatch as error:
        raise DigestMismatch(str(error)) from error


def metadata_of(headers: Mapping[str, str]) -> str:
    """Return what is kept of a request's headers until its file is complete: `Repr-Digest`, that of the whole file.

    Raises:
        InvalidDigest, UnsupportedDigest: as `digests.read_digests`.
    """
    value = headers.get(REPR_DIGEST.lower())
    return "" if value is None else as_metadata(read_digests(REPR_DIGEST, value))


def name_of(scope: Scope) -> str:
    """Return the file's path in the request's, decoded once. A slash in a name (`%2F`) is no separator.

    Raises:
        UnsafeName: it is not UTF-8, or not percent-encoded as it should be.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    encoded = raw.partition(b"?")[0].removeprefix(_ROOT.encode())
    try:
        if _PERCENT.search(encoded):
            raise UnsafeName(f"file name {_shown(encoded)} has a % that encodes nothing. Send % itself as %25.")
        names = [unquote_to_bytes(name).decode() for name in encoded.split(b"/")]
    except UnicodeDecodeError as error:
        raise UnsafeName(f"file name {_shown(encoded)} is not UTF-8. Encode it so.") from error
    if any("/" in name for name in names):
        raise UnsafeName(f"file name {_shown(encoded)} has a path separator. Send it as it is between folders.")
    return "/".join(names)


def _shown(encoded: bytes) -> str:
    return repr(encoded[:80].decode("latin-1"))


def space_of(scope: Scope) -> str:
    """Return the space that the query names, or the default one.

    Raises:
        BadHeader: it cannot be the name of a space.
    """
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return checked_space(query.get("space", ["default"])[-1])


def version_of(scope: Scope) -> str | None:
    """Return the version of the file that the query names; None: the present one."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return query["version"][-1] if "version" in query else None
