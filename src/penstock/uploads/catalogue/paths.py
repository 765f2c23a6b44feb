"""The SQL of files: released uploads by their paths.

Of those of one path, the one with the largest precedence is the file, and the others are its older versions. The phase
stands in the text of each statement, or SQLite would not see that the index of released uploads applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, func, literal_column, select, update

from ...db.prepared import Prepared
from ...db.tables import uploads
from ..places import Place
from ..upload import Phase, Upload
from .rows import COLUMNS, upload_of
from .statements import PRECEDENCES

if TYPE_CHECKING:
    from sqlalchemy import Connection

ANY: Final = 2**63 - 1
"""Larger than every precedence, and every number of an upload."""
LAST: Final = "\U0010ffff"
"""Comes after every character of a path."""
_IS_RELEASED: Final = uploads.c.phase == literal_column(f"'{Phase.RELEASED}'")
_IN_PROCESSING: Final = uploads.c.phase == literal_column(f"'{Phase.PROCESSING}'")
_HERE: Final = (uploads.c.space == bindparam("in_space"), uploads.c.path == bindparam("at_path"))
_THERE: Final = (_IS_RELEASED, *_HERE)
_VERSIONS: Final = (
    select(*COLUMNS, uploads.c.precedence)
    .where(*_THERE, uploads.c.precedence < bindparam("before"))
    .order_by(uploads.c.precedence.desc())
    .limit(bindparam("most"))
)
_OLDEST: Final = (
    select(*COLUMNS)
    .where(*_THERE, uploads.c.precedence <= bindparam("upto"))
    .order_by(uploads.c.precedence)
    .limit(bindparam("most"))
)
_KEPT_LAST: Final = (
    select(uploads.c.precedence).where(*_THERE).order_by(uploads.c.precedence.desc()).limit(1).offset(bindparam("kept"))
)
_VERSION: Final = select(*COLUMNS).where(uploads.c.id == bindparam("upload"), *_HERE)
_PROCESSING: Final = (
    select(*COLUMNS)
    .where(uploads.c.filename == bindparam("name"), _IN_PROCESSING, *_HERE, uploads.c.seq <= bindparam("upto"))
    .order_by(uploads.c.seq.desc())
    .limit(bindparam("most"))
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
_RAISE: Final = (
    update(uploads)
    .where(uploads.c.id == bindparam("upload"), _IS_RELEASED)
    .values(precedence=bindparam("to_precedence"))
)
_RAISE_TO: Final = Prepared(
    update(uploads)
    .where(uploads.c.id == bindparam("upload"), uploads.c.precedence < bindparam("to_precedence"))
    .values(precedence=bindparam("to_precedence"))
)
_RANKED: Final = (
    select(uploads.c.seq.label("number"), func.row_number().over(order_by=uploads.c.precedence).label("rank"))
    .where(*_THERE)
    .subquery("ranked")
)
_CARRY: Final = (
    update(uploads)
    .where(uploads.c.seq == _RANKED.c.number)
    .values(
        space=bindparam("to_space"),
        path=bindparam("to_path"),
        filename=bindparam("to_name"),
        precedence=bindparam("below") + _RANKED.c.rank,
    )
)
_NEXT_SPACE: Final = select(func.min(uploads.c.space)).where(uploads.c.space > bindparam("after"))
_ANY_FILE: Final = select(uploads.c.id).where(_IS_RELEASED, uploads.c.space == bindparam("in_space")).limit(1)
# Of one space, since SQLite goes along the index only then, and gathers all files of all spaces otherwise.
_CROWDED: Final = (
    select(uploads.c.path)
    .where(_IS_RELEASED, uploads.c.space == bindparam("in_space"), uploads.c.path > bindparam("after"))
    .group_by(uploads.c.path)
    .having(func.count() > bindparam("kept"))
    .order_by(uploads.c.path)
    .limit(bindparam("most"))
)
_LOOKS: Final = 1000
"""Spaces that are looked at for one answer. There may be very many in which no file ever came to be."""


class Version(NamedTuple):
    """A version of a file, and its place in their order."""

    upload: Upload
    precedence: int


class Extent(NamedTuple):
    """What there was at one moment: what came later is not in it."""

    number: int
    """Of the upload that was created last."""
    precedence: int
    """Of the file."""


def versions(connection: Connection, place: Place, *, most: int, before: int = ANY) -> list[Version]:
    """Return versions of a file with a precedence below `before`, the present one first."""
    found = connection.execute(_VERSIONS, {**_at(place), "before": before, "most": most})
    return [Version(upload_of(row[:-1]), row[-1]) for row in found]


def current(connection: Connection, place: Place) -> Upload | None:
    """Return a file's present version; None: there is no such file."""
    found = versions(connection, place, most=1)
    return found[0].upload if found else None


def version(connection: Connection, place: Place, upload_id: str) -> Upload | None:
    """Return the upload of an ID if it is, or will be, a version of a file; else None."""
    row = connection.execute(_VERSION, {**_at(place), "upload": upload_id}).first()
    found = None if row is None else upload_of(row)
    return found if found is not None and found.phase in (Phase.RELEASED, Phase.PROCESSING) else None


def extent(connection: Connection, place: Place) -> Extent:
    """Return what there is of a file by now."""
    return Extent(connection.execute(_NEWEST).scalar_one(), connection.execute(_TOP, _at(place)).scalar_one())


def oldest(connection: Connection, place: Place, *, most: int, upto: int = ANY) -> list[Upload]:
    """Return versions of a file, up to one precedence, the oldest first."""
    found = connection.execute(_OLDEST, {**_at(place), "upto": upto, "most": most})
    return [upload_of(row) for row in found]


def surplus(connection: Connection, place: Place, *, kept: int, most: int) -> list[Upload]:
    """Return versions of a file beyond the newest ones that are `kept`, the oldest first."""
    last = connection.execute(_KEPT_LAST, {**_at(place), "kept": kept}).scalar()
    return [] if last is None else oldest(connection, place, most=most, upto=last)


def processing(connection: Connection, place: Place, *, most: int, upto: int = ANY) -> list[Upload]:
    """Return uploads to a path that are in processing, up to one number, the newest first."""
    values = {**_at(place), "name": place.name, "upto": upto, "most": most}
    return [upload_of(row) for row in connection.execute(_PROCESSING, values)]


def listed(connection: Connection, space: str, prefix: str, *, after: str, most: int) -> list[Upload]:
    """Return the files whose paths begin with `prefix` and come after another path, in their order as bytes."""
    # One bound, as SQLite uses one. No path has a control character, so nothing is between `after` and this.
    first = max(prefix, f"{after}\x01") if after else prefix
    values = {"in_space": space, "first": first, "before": prefix + LAST, "most": most}
    return [upload_of(row) for row in connection.execute(_LISTED, values)]


def spaces(connection: Connection, *, after: str, most: int) -> tuple[list[str], str | None]:
    """Return names of spaces in which there are files, in their order, and after which one it goes on; None: nowhere.

    There may be few of them, or none, and more to come: 1,000 spaces are looked at, with files or without.
    """
    found: list[str] = []
    for _ in range(_LOOKS):
        name = connection.execute(_NEXT_SPACE, {"after": after}).scalar_one()
        if name is None:
            return found, None
        after = name
        if connection.execute(_ANY_FILE, {"in_space": name}).first() is not None:
            found.append(name)
        if len(found) == most:
            break
    return found, after


def on_top(connection: Connection, place: Place) -> int:
    """Return a precedence over all versions of a file, and below that of every upload that is yet to be created."""
    now = extent(connection, place)
    return max(now.number * PRECEDENCES, now.precedence) + 1


def put_over(connection: Connection, upload: Upload, below: int) -> None:
    """Have a version come before those up to a precedence, if it does not; later uploads still replace it."""
    _RAISE_TO.execute(connection, {"upload": upload.id, "to_precedence": below + 1})


def bring_up(connection: Connection, upload: Upload, place: Place) -> None:
    """Have a version be the present one, if it is still released."""
    connection.execute(_RAISE, {"upload": upload.id, "to_precedence": on_top(connection, place)})


def carry(connection: Connection, source: Place, target: Place) -> int:
    """Have all versions of a file be the newest ones of another, in their order; return how many these are."""
    values = {
        **_at(source),
        "to_space": target.space,
        "to_path": target.path,
        "to_name": target.name,
        "below": on_top(connection, target) - 1,
    }
    return connection.execute(_CARRY, values).rowcount


def crowded(connection: Connection, *, kept: int, after: Place, most: int) -> tuple[list[Place], Place | None]:
    """Return files that have more than so many versions, in their order, and after which it goes on; None: nowhere.

    There may be few of them, or none, and more to come, as with `spaces`.
    """
    found: list[Place] = []
    for _ in range(_LOOKS):
        values = {"in_space": after.space, "after": after.path, "kept": kept, "most": most - len(found)}
        found += [Place(after.space, row[0]) for row in connection.execute(_CROWDED, values)]
        if len(found) == most:
            return found, found[-1]
        name = connection.execute(_NEXT_SPACE, {"after": after.space}).scalar_one()
        if name is None:
            return found, None
        after = Place(name, "")
    return found, after


def _at(place: Place) -> dict[str, str]:
    return {"in_space": place.space, "at_path": place.path}
