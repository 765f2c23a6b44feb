"""Durations as operators write them: the syntax of Go's `time.ParseDuration`, such as `5s` or `1h30m`.

A number without a unit is refused, except for `0`: nobody can tell what was meant. The Go services ignore it silently.
Source: https://pkg.go.dev/time#ParseDuration
"""

from __future__ import annotations

import re
from datetime import timedelta

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "μs": 1_000,  # U+03BC, the Greek letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]{0,20})(?:\.([0-9]{0,20}))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_BARE_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", re.ASCII)
_DAYS = re.compile(r"([0-9]{1,4})d", re.ASCII)
_LONGEST_NANOSECONDS = 2**63 - 1
"""About 292 years, where Go's durations end too."""
_WRITE = "Write a number with a unit, such as 5s or 1m30s."


def parse_duration(text: str) -> timedelta:
    """Return the duration that `text` says; what is finer than a microsecond is cut off, towards zero.

    Units are `h`, `m`, `s`, `ms`, `us` (or `µs`) and `ns`; numbers may have decimals, and a sign may come first.

    Raises:
        ValueError: not a duration, or longer than 292 years. The message goes on after "5x: " and says what to write.
    """
    if text in {"0", "+0", "-0"}:
        return timedelta(0)
    unsigned = text[1:] if text[:1] in {"-", "+"} else text
    nanoseconds, position = 0, 0
    while match := _PART.match(unsigned, position):
        whole, decimals, unit = match[1], match[2] or "", match[3]
        if not whole and not decimals:
            break
        nanoseconds += int(whole + decimals or "0") * _NANOSECONDS[unit] // 10 ** len(decimals)
        position = match.end()
    if position != len(unsigned) or not unsigned:
        raise ValueError(_complaint(text))
    if nanoseconds > _LONGEST_NANOSECONDS:
        raise ValueError("longer than any duration can be. Write one of less than 2562047h.")
    length = timedelta(microseconds=nanoseconds // 1000)
    return -length if text.startswith("-") else length


def _complaint(text: str) -> str:
    if _BARE_NUMBER.fullmatch(text):
        return f"a number without a unit. {_WRITE}"
    if days := _DAYS.fullmatch(text):
        return f"not a duration. There is no unit for days; write hours: {int(days[1]) * 24}h."
    return f"not a duration. {_WRITE}"


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back as exactly `duration`, such as `1h30m` or `250ms`."""
    microseconds = duration // timedelta(microseconds=1)
    if microseconds < 0:
        return "-" + format_duration(-duration)
    if microseconds < 1000:
        return f"{microseconds}us" if microseconds else "0s"
    if microseconds < 1_000_000:
        return f"{_decimal(microseconds, 1000)}ms"
    minutes, rest = divmod(microseconds, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{hours}h" if hours else "", f"{minutes}m" if minutes else "")
    return "".join(parts) + (f"{_decimal(rest, 1_000_000)}s" if rest else "")


def _decimal(number: int, divisor: int) -> str:
    whole, rest = divmod(number, divisor)
    digits = str(rest).zfill(len(str(divisor)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
