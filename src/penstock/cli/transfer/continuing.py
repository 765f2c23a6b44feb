"""Going on with an upload that was begun elsewhere: only with the file that it was begun with."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...errors import InvalidRequest
from ..api import Api
from .sources import unreadable

if TYPE_CHECKING:
    from .sources import Source

_PIECE_BYTES: Final = 1024 * 1024
_DIGEST_SECONDS: Final = 3600.0
"""How long the server may take to read what it has, which is some GiB in a few seconds."""


class CannotContinue(InvalidRequest):
    """The upload cannot be continued, or not with this file; nothing was sent."""

    code = "cannot-continue"


class Continued(NamedTuple):
    """An upload that a file is the rest of."""

    address: str
    space: str


def continued(url: str, upload_id: str, source: Source) -> Continued:
    """Make sure that an upload can be continued with a file: of its size, and beginning with what has arrived.

    Raises:
        NotFound: the server has no such upload.
        CannotContinue: see there.
        ServerAway, Refused: the server does not tell.
        InvalidRequest: the file cannot be read.
    """
    with Api(url, timeout_seconds=_DIGEST_SECONDS) as api:
        view = api.get(f"/uploads/{upload_id}")
        _check(upload_id, view, source)
        if view["offset"]:
            arrived = api.get(f"/uploads/{upload_id}/digest")
            if _digest(source, arrived["offset"]) != arrived["sha256"]:
                raise CannotContinue(
                    f"{source.shown} does not begin with the {arrived['offset']} bytes that upload {upload_id} has: "
                    "it is another file, or was changed. Upload it anew, without --continue."
                )
    return Continued(url + view["links"]["tus"], view["space"])


def _check(upload_id: str, view: dict[str, Any], source: Source) -> None:
    if view["phase"] != "receiving" or view["expired"]:
        state = "expired" if view["expired"] else view["phase"]
        raise CannotContinue(f"upload {upload_id} is {state}: there is nothing to go on with.")
    if view["part"] or view["made_of"] or view["ends_when_told"] or view["size"] is None:
        raise CannotContinue(
            f"upload {upload_id} was begun in a way that only the client that began it can end "
            "(parts, no length, or no tus). Upload the file anew, without --continue."
        )
    size_bytes = source.fingerprint().size_bytes
    if view["size"] != size_bytes:
        raise CannotContinue(
            f"{source.shown} has {size_bytes} bytes, and upload {upload_id} ({view['filename']}) is to have "
            f"{view['size']}: it is another file. Upload it anew, without --continue."
        )


def _digest(source: Source, length: int) -> str:
    digest = hashlib.sha256()
    try:
        with source.path.open("rb") as file:
            while length and (piece := file.read(min(_PIECE_BYTES, length))):
                digest.update(piece)
                length -= len(piece)
    except OSError as error:
        raise unreadable(source.shown, error) from error
    return digest.hexdigest()
