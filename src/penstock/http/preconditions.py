"""Conditions of requests that change a file by its path (RFC 9110, 13): which version it must have, or not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..ids import is_upload_id
from ..uploads.file_errors import OtherVersion
from ..uploads.protocols.proviso import ANY, Proviso
from ..uploads.upload import Phase, Upload
from .ranges import Validators, date_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..uploads.files.files import Files
    from ..uploads.places import Place

_CONDITIONS: Final = frozenset({"if-match", "if-none-match", "if-unmodified-since"})


def validators_of(upload: Upload, *, lasting: bool) -> Validators:
    """Return what tells an upload's bytes from others at their address; `lasting`: there can never be any.

    Bytes never change under an upload ID, so the ID tells one state of a file from another.
    """
    return Validators(f'"{upload.id}"', upload.ended_at, lasting)


def proviso_of(headers: Mapping[str, str]) -> Proviso | None:
    """Return what a request that changes a file says of the state in which it must be; None: nothing.

    A version is the entity tag without its quotes. `If-Unmodified-Since` means nothing beside `If-Match` (13.2.2), nor
    if it is no time.
    """
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    proviso = Proviso(
        any_of=None if match is None else _versions(match, weak=False),
        none_of=None if none_match is None else _versions(none_match, weak=True),
        unmodified_since=date_of(headers.get("if-unmodified-since")) if match is None else None,
    )
    return None if proviso == Proviso() else proviso


async def version_meant(files: Files, place: Place, headers: Mapping[str, str], version: str | None) -> str | None:
    """Return the version that a file must still have when it is moved, copied or deleted; None: any.

    Args:
        files: where to look.
        place: where the file is.
        headers: the request's.
        version: which version of it is meant; None: the present one.

    Raises:
        NotFound: there is no such file.
        FileThere, OtherVersion: it is another one than the request is meant for.
    """
    if not headers.keys() & _CONDITIONS:
        return None
    present = await files.get(place, version=version)
    if present.phase is Phase.RELEASED:
        if (proviso := proviso_of(headers)) is not None:
            proviso.check(place, present)
        return present.id
    if "if-match" in headers:
        raise OtherVersion(f"{present.filename} was never released, so it has no version yet.")
    return None


async def check_upload(files: Files, place: Place, headers: Mapping[str, str]) -> Proviso | None:
    """Make sure, before a file is uploaded, that what is at its place is what the request says; return what that is.

    It must still hold when the file comes there, so it is kept with the upload. None: the request says nothing.

    Raises:
        StillProcessing: something is in processing there, so nobody can say what will be there.
        FileThere, OtherVersion: it is not so.
    """
    proviso = proviso_of(headers)
    if proviso is not None:
        proviso.check(place, await files.settled(place))
    return proviso


def _versions(header: str, *, weak: bool) -> tuple[str, ...]:
    """Return the versions that a list of entity tags names; those of others are no file here."""
    named = (tag if tag == ANY else tag[1:-1] for tag in tags_of(header, weak=weak) if tag != f'"{ANY}"')
    return tuple(version for version in named if version == ANY or is_upload_id(version))
