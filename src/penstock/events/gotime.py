"""Times and durations as the Go services write them.

Python's datetime ends at microseconds and the wire has nanoseconds, so a time read from the wire stays
text: RFC 3339 with up to nine decimals, in the form in which Go writes it (trailing zeros cut, `Z` for
UTC). This module checks such text, brings it into that form, and converts from and to Python's types.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""What Go writes for a time that was never set, and what a missing time reads as."""

# What Go accepts when it reads a time from JSON: upper case T and Z, a zone, no leap second, year 0 included.
_RFC3339: Final = re.compile(
    r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
    r"(?:\.(\d+))?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_DAYS_IN_MONTH: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MICROSECOND_NS: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def normalize_time(text: str) -> str:
    """Bring an RFC 3339 time into the form in which Go writes it.

    `2025-02-13T10:00:00.50+01:00` becomes `2025-02-13T10:00:00.5+01:00`: the zone stays, trailing zeros and
    decimals beyond the ninth are cut, and `+00:00` becomes `Z`.

    Raises:
        ValueError: not a time that Go reads: no zone, no such day, a leap second, lower case letters, …
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time with a zone: {text[:64]!r}")
    year, month, day, decimals = match.groups()
    if int(day) > 28:
        _check_day(text, int(year), int(month), int(day))
    if text.endswith(("+00:00", "-00:00")):
        text = text[:-6] + "Z"
    if decimals is not None and (len(decimals) > 9 or decimals.endswith("0")):
        kept = decimals[:9].rstrip("0")
        zone = text[20 + len(decimals) :]
        text = f"{text[:19]}.{kept}{zone}" if kept else text[:19] + zone
    return text


def _check_day(text: str, year: int, month: int, day: int) -> None:
    """Refuse the 31st of June and the 29th of February of most years."""
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > _DAYS_IN_MONTH[month] or (month == 2 and day == 29 and not is_leap):
        raise ValueError(f"no such day: {text[:64]!r}")


def format_time(moment: datetime) -> str:
    """An aware datetime as Go writes it in UTC, such as `2025-02-13T15:50:18.61355Z`.

    Raises:
        ValueError: `moment` has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"a time without zone: {moment!r}")
    # RFC 3339 wants four digits of year, which strftime does not promise on every platform; isoformat does.
    text = (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()[: -len("+00:00")]
    return (text.rstrip("0") if "." in text else text) + "Z"


def parse_time(text: str) -> datetime:
    """A time from the wire as an aware datetime in its own zone, cut to microseconds.

    Raises:
        ValueError: not a time that Go reads, or one before the year 1.
    """
    return datetime.fromisoformat(normalize_time(text))


def to_nanoseconds(duration: timedelta) -> int:
    """A duration in whole nanoseconds, exactly."""
    return duration // _MICROSECOND * _MICROSECOND_NS


def to_timedelta(nanoseconds: int) -> timedelta:
    """A duration from nanoseconds, cut towards zero to whole microseconds."""
    microseconds = abs(nanoseconds) // _MICROSECOND_NS
    return timedelta(microseconds=microseconds if nanoseconds >= 0 else -microseconds)


def unix_nanoseconds(moment: datetime) -> int:
    """Nanoseconds since 1970-01-01T00:00:00Z of an aware datetime, exactly; negative before."""
    return to_nanoseconds(moment - _EPOCH)
