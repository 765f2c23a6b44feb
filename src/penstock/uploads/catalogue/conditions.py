"""What must hold before something is done with a file, looked at in the transaction that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import NotFound
from ..file_errors import FileThere, OtherVersion, StillProcessing
from ..places import Place
from . import paths

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ...errors import PenstockError
    from ..upload import Upload


def movable(connection: Connection, source: Place, match: str | None) -> Upload:
    """Return a file's present version, if it may be moved or copied, and is that of `match` (None: any).

    Raises:
        StillProcessing, NotFound, OtherVersion: it may not.
    """
    check_settled(connection, source)
    present = paths.current(connection, source)
    if present is None:
        raise no_file(source)
    check_match(present, source, match)
    return present


def check_target(connection: Connection, target: Place, *, overwrite: bool) -> bool:
    """Make sure that a file may come to a place; return whether there is none yet.

    Raises:
        StillProcessing, FileThere: it may not.
    """
    check_settled(connection, target)
    if paths.current(connection, target) is None:
        return True
    if not overwrite:
        raise FileThere(f"there is a file {target} already. Choose another path, or allow to overwrite it.")
    return False


def check_match(present: Upload | None, place: Place, match: str | None) -> None:
    """Make sure that a file has the version that is meant; None: any.

    Raises:
        OtherVersion: it has another one, or there is no file.
    """
    if match is not None and (present is None or present.id != match):
        found = "none" if present is None else present.id
        raise OtherVersion(f"the file {place} is another one by now: its version is {found}.")


def unmet(connection: Connection, upload: Upload) -> PenstockError | None:
    """Return why an upload cannot become the file at its path, if its proviso does not hold; else None."""
    if upload.proviso is None:
        return None
    place = place_of(upload)
    return upload.proviso.objection(place, paths.current(connection, place))


def place_of(upload: Upload) -> Place:
    """Return where an upload is, or will be."""
    return Place(upload.space, upload.file_path)


def check_settled(connection: Connection, place: Place) -> None:
    """Make sure that nothing is in processing at a place.

    Raises:
        StillProcessing: something is.
    """
    for upload in paths.processing(connection, place, most=1):
        raise StillProcessing.of(upload)


def no_file(place: Place) -> NotFound:
    """Return the error that says that there is no such file."""
    return NotFound(f"there is no file {place}. Ask for the list of what there is.")


def no_version(place: Place, version: str) -> NotFound:
    """Return the error that says that a file has no such version."""
    return NotFound(f"the file {place} has no version {version[:64]!r}. Ask for the list of its versions.")
