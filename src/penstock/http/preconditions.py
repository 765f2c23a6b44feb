"""Conditions of requests that change a file by its path (RFC 9110, 13): which version it must have, or not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..uploads.file_errors import FileThere, OtherVersion
from ..uploads.upload import Phase, Upload
from .ranges import Validators

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..uploads.files import Files
    from ..uploads.places import Place

_CONDITIONS: Final = frozenset({"if-match", "if-none-match", "if-unmodified-since"})


def validators_of(upload: Upload, *, lasting: bool) -> Validators:
    """Return what tells an upload's bytes from others at their address; `lasting`: there can never be any.

    Bytes never change under an upload ID, so the ID tells one state of a file from another.
    """
    return Validators(f'"{upload.id}"', upload.ended_at, lasting)


async def version_meant(files: Files, place: Place, headers: Mapping[str, str], version: str | None) -> str | None:
    """Return the version that a file must still have when it is moved, copied or deleted; None: any.

    Args:
        files: where to look.
        place: where the file is.
        headers: the request's.
        version: which version of it is meant; None: the present one.

    Raises:
        NotFound: there is no such file.
        OtherVersion: it is another one than the request is meant for.
    """
    if not headers.keys() & _CONDITIONS:
        return None
    present = await files.get(place, version=version)
    if present.phase is Phase.RELEASED:
        _check(present, headers)
        return present.id
    if "if-match" in headers:
        raise OtherVersion(f"{present.filename} was never released, so it has no version yet.")
    return None


async def check_upload(files: Files, place: Place, headers: Mapping[str, str]) -> None:
    """Make sure, before a file is uploaded, that what is at its place is what the request says.

    What comes there while the upload is on its way is not looked at: of two, the one that began last counts.

    Raises:
        StillProcessing: something is in processing there, so nobody can say what will be there.
        FileThere, OtherVersion: it is not so.
    """
    if not headers.keys() & _CONDITIONS:
        return
    present = await files.settled(place)
    if present is not None:
        _check(present, headers)
    elif "if-match" in headers:
        raise OtherVersion(f"there is no file {place}, and the request is meant for one. Send it without If-Match.")


def _check(present: Upload, headers: Mapping[str, str]) -> None:
    validators = validators_of(present, lasting=False)
    if headers.get("if-none-match", "").strip() == "*":
        raise FileThere(f"there is a file {present.file_path!r} already: its ETag is {validators.tag}.")
    if validators.refused(headers) or ("if-none-match" in headers and validators.unchanged(headers)):
        raise OtherVersion(
            f"the request is meant for another state of {present.file_path!r}: its ETag is {validators.tag}."
        )
