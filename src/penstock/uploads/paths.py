"""The SQL of files: released uploads by their paths.

Of those of one path, the one with the largest precedence is the file, and the others are its older versions. The phase
stands in the text of each statement, or SQLite would not see that the index of released uploads applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, func, literal_column, select, update

from ..db.tables import uploads
from .rows import COLUMNS, upload_of
from .statements import PRECEDENCES
from .upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

MOST_VERSIONS: Final = 1000
"""What one answer lists. There may be more of a file."""
ALL: Final = 2**31 - 1
LAST: Final = "\U0010ffff"
"""Comes after every character of a path."""
_IS_RELEASED: Final = uploads.c.phase == literal_column(f"'{Phase.RELEASED}'")
_THERE: Final = (_IS_RELEASED, uploads.c.space == bindparam("in_space"), uploads.c.path == bindparam("at_path"))
_VERSIONS: Final = select(*COLUMNS).where(*_THERE).order_by(uploads.c.precedence.desc()).limit(bindparam("most"))
_PROCESSING: Final = (
    select(*COLUMNS)
    .where(
        uploads.c.filename == bindparam("name"),
        uploads.c.phase == literal_column(f"'{Phase.PROCESSING}'"),
        uploads.c.space == bindparam("in_space"),
        uploads.c.path == bindparam("at_path"),
    )
    .order_by(uploads.c.seq.desc())
)
_OLDER: Final = uploads.alias("versions")
_LATEST: Final = (
    select(func.max(_OLDER.c.precedence))
    .where(
        _OLDER.c.phase == literal_column(f"'{Phase.RELEASED}'"),
        _OLDER.c.space == bindparam("in_space"),
        _OLDER.c.path == uploads.c.path,
    )
    .scalar_subquery()
)
# The index has the rows in this order, and tells for each whether it is the file: nothing else is read.
_LISTED: Final = (
    select(*COLUMNS)
    .where(
        _IS_RELEASED,
        uploads.c.space == bindparam("in_space"),
        uploads.c.path >= bindparam("first"),
        uploads.c.path < bindparam("before"),
        uploads.c.precedence == _LATEST,
    )
    .order_by(uploads.c.path)
    .limit(bindparam("most"))
)
_TOP: Final = select(func.coalesce(func.max(uploads.c.precedence), 0)).where(*_THERE)
_NEWEST: Final = select(func.coalesce(func.max(uploads.c.seq), 0))
_PLACE: Final = update(uploads).where(uploads.c.id == bindparam("upload"), _IS_RELEASED)
_NEXT_SPACE: Final = select(func.min(uploads.c.space)).where(uploads.c.space > bindparam("after"))
_ANY_FILE: Final = select(uploads.c.id).where(_IS_RELEASED, uploads.c.space == bindparam("in_space")).limit(1)
_CROWDED: Final = (
    select(uploads.c.space, uploads.c.path)
    .where(_IS_RELEASED)
    .group_by(uploads.c.space, uploads.c.path)
    .having(func.count() > bindparam("kept"))
    .limit(bindparam("most"))
)


def versions(connection: Connection, space: str, path: str, *, most: int = MOST_VERSIONS) -> list[Upload]:
    """Return the versions of a file, the present one first; none when there is no such file."""
    found = connection.execute(_VERSIONS, {"in_space": space, "at_path": path, "most": most})
    return [upload_of(row) for row in found]


def current(connection: Connection, space: str, path: str) -> Upload | None:
    """Return a file's present version; None: there is no such file."""
    found = versions(connection, space, path, most=1)
    return found[0] if found else None


def processing(connection: Connection, space: str, path: str) -> list[Upload]:
    """Return the uploads to a path that are in processing, the newest first."""
    values = {"name": path.rpartition("/")[2], "in_space": space, "at_path": path}
    return [upload_of(row) for row in connection.execute(_PROCESSING, values)]


def listed(connection: Connection, space: str, prefix: str, *, after: str, most: int) -> list[Upload]:
    """Return the files whose paths begin with `prefix` and come after another path, in their order as bytes."""
    # One bound, as SQLite uses one. No path has a control character, so nothing is between `after` and this.
    first = max(prefix, f"{after}\x01") if after else prefix
    values = {"in_space": space, "first": first, "before": prefix + LAST, "most": most}
    return [upload_of(row) for row in connection.execute(_LISTED, values)]


def spaces(connection: Connection, *, after: str, most: int) -> list[str]:
    """Return the names of spaces in which there are files, in their order; one look into the index for each."""
    found: list[str] = []
    name: str | None = after
    while len(found) < most:
        name = connection.execute(_NEXT_SPACE, {"after": name}).scalar_one()
        if name is None:
            break
        if connection.execute(_ANY_FILE, {"in_space": name}).first() is not None:
            found.append(name)
    return found


def on_top(connection: Connection, space: str, path: str) -> int:
    """Return a precedence over all versions of a file, and below that of every upload that is yet to be created."""
    newest: int = connection.execute(_NEWEST).scalar_one()
    top: int = connection.execute(_TOP, {"in_space": space, "at_path": path}).scalar_one()
    return max(newest * PRECEDENCES, top) + 1


def place(connection: Connection, version: Upload, *, space: str, path: str, precedence: int) -> None:
    """Have a version be one of another path, or of another precedence, if it is still released."""
    values = {"space": space, "path": path, "filename": path.rpartition("/")[2], "precedence": precedence}
    connection.execute(_PLACE.values(values), {"upload": version.id})


def crowded(connection: Connection, *, kept: int, most: int) -> Sequence[tuple[str, str]]:
    """Return space and path of files that have more than so many versions."""
    return [(row[0], row[1]) for row in connection.execute(_CROWDED, {"kept": kept, "most": most})]
