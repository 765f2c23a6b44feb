"""Which uploads a list shows, as statements that stay fast however many uploads there are.

Lists go from the newest to the oldest, and a page begins where the last one ended, by number. A database reads one page
without looking at the rest if an index has the rows in just that order. One index per phase does; so a list that is
narrowed to some phases is put together from one list of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, literal_column, or_, select, true

from ...db.instants import to_microseconds
from ...db.tables import uploads
from ..upload import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Select

_NEVER = 2**62
_IDS = 500
"""How many values a statement carries at most; databases have limits to that."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload must be like to be listed; None means that it does not matter."""

    ids: Sequence[str] | None = None
    phases: Sequence[Phase] | None = None
    expired: bool | None = None
    """Whether its time was over before all bytes had arrived, be it removed yet or not."""
    has_virus: bool | None = None
    """Whether the last scan found something."""
    space: str | None = None
    filename: str | None = None
    owner: str | None = None
    """The user who uploads; empty: those of nobody."""
    now: datetime | None = None
    """Needed with `expired`."""

    def __post_init__(self) -> None:
        """Refuse half a filter.

        Raises:
            ValueError: `expired` without `now`.
        """
        if self.expired is not None and self.now is None:
            raise ValueError("whether an upload has expired depends on the time: give `now` as well")


def pages(
    filters: Filters, columns: Sequence[ColumnElement[Any]], *, before: int | None, limit: int
) -> list[Select[Any]]:
    """Return statements whose rows, taken together, contain the next `limit` uploads numbered below `before`.

    Each is in descending order of `seq` and yields at most `limit` rows; together they yield no upload twice.
    """
    page = select(*columns).order_by(uploads.c.seq.desc()).limit(limit)
    if before is not None:
        page = page.where(uploads.c.seq < before)
    if filters.has_virus is False:
        page = page.where(uploads.c.infected.is_not(true()))
    if filters.ids is not None:
        ids = list(dict.fromkeys(filters.ids))
        batches = (ids[begin : begin + _IDS] for begin in range(0, len(ids), _IDS))
        return [page.where(uploads.c.id.in_(batch), *_narrow(filters)) for batch in batches]
    if filters.has_virus or (filters.filename is not None and filters.space is None):
        return [page.where(*_narrow(filters))]
    about_anything = (filters.phases, filters.expired, filters.space, filters.filename, filters.owner)
    if all(condition is None for condition in about_anything):
        return [page]
    return [page.where(*_of_phase(filters, phase)) for phase in _phases(filters)]


def _narrow(filters: Filters) -> Iterable[ColumnElement[bool]]:
    """Conditions for a list that begins with few rows anyhow: no other index shall be preferred to find these."""
    if filters.has_virus:
        yield uploads.c.infected == true()
    if filters.space is not None:
        yield func.coalesce(uploads.c.space, "") == filters.space
    if filters.filename is not None:
        narrow_already = filters.ids is not None or filters.has_virus
        yield (func.coalesce(uploads.c.filename, "") if narrow_already else uploads.c.filename) == filters.filename
    if filters.owner is not None:
        yield func.coalesce(uploads.c.owner, "") == filters.owner
    phase = func.coalesce(uploads.c.phase, "")
    yield phase.in_([one.value for one in _phases(filters)])
    if filters.expired is not None:
        yield or_(phase != Phase.RECEIVING.value, _overdue(filters, wanted=filters.expired))


def _of_phase(filters: Filters, phase: Phase) -> Iterable[ColumnElement[bool]]:
    yield uploads.c.phase == phase.value
    if filters.space is not None:
        yield uploads.c.space == filters.space
    if filters.filename is not None:
        yield uploads.c.filename == filters.filename
    if filters.owner is not None:
        narrow_already = filters.space is not None or filters.filename is not None or not filters.owner
        yield (func.coalesce(uploads.c.owner, "") if narrow_already else uploads.c.owner) == filters.owner
        if not narrow_already:
            yield uploads.c.owner != literal_column("''")  # or the index would not be seen to apply
    if filters.expired is not None and phase is Phase.RECEIVING:
        yield _overdue(filters, wanted=filters.expired)


def _overdue(filters: Filters, *, wanted: bool) -> ColumnElement[bool]:
    expires_at, now = func.coalesce(uploads.c.expires_at, _NEVER), to_microseconds(filters.now)
    return expires_at <= now if wanted else expires_at > now


def _phases(filters: Filters) -> list[Phase]:
    """The phases in which an upload can match."""
    phases = list(Phase) if filters.phases is None else list(dict.fromkeys(filters.phases))
    if filters.expired is None:
        return phases
    if filters.expired:
        return [phase for phase in phases if phase in (Phase.RECEIVING, Phase.EXPIRED)]
    return [phase for phase in phases if phase is not Phase.EXPIRED]
