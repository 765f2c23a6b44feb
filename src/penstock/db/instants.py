"""Times in the database: whole microseconds since 1970-01-01T00:00:00Z, which compare and index like any number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import overload

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@overload
def to_microseconds(at: datetime) -> int: ...
@overload
def to_microseconds(at: datetime | None) -> int | None: ...
def to_microseconds(at: datetime | None) -> int | None:
    """Return an aware time as the number that is stored; None stays None.

    Raises:
        TypeError: `at` has no time zone.
    """
    return None if at is None else (at - _EPOCH) // _MICROSECOND


@overload
def from_microseconds(stored: int) -> datetime: ...
@overload
def from_microseconds(stored: int | None) -> datetime | None: ...
def from_microseconds(stored: int | None) -> datetime | None:
    """Return the time that a stored number means, aware and in UTC; None stays None."""
    return None if stored is None else _EPOCH + timedelta(microseconds=stored)
