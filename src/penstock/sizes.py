"""Sizes as operators write them, the way the Go services read them, and as people like to see them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"([0-9]{1,20}) ?(|[KMGTPE]i?B)", re.ASCII)
_LETTERS = "KMGTPE"
_LARGEST_BYTES = 2**63 - 1
"""Beyond that neither files nor databases go."""


def parse_size(text: str) -> int:
    """Return the number of bytes that `text` says.

    A whole number of bytes, or one with a unit: `KB MB GB TB PB EB` (powers of 1000) or `KiB MiB GiB TiB PiB EiB`
    (powers of 1024), with or without a blank before it.

    Raises:
        ValueError: anything else, such as `1.5GB`, `10B` or `-1`. The message goes on after "10B: " and
            says what to write.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            "not a size. Write a whole number of bytes, or one with a unit, such as 100MB (1000 x 1000) or 100MiB "
            "(1024 x 1024)."
        )
    number, unit = int(match[1]), match[2]
    if unit:
        number *= (1024 if "i" in unit else 1000) ** (_LETTERS.index(unit[0]) + 1)
    if number > _LARGEST_BYTES:
        raise ValueError("larger than any file can be. Write a size of less than 8EiB.")
    return number


def exact_size(size_bytes: int) -> str:
    """Return the shortest text that `parse_size` reads back as exactly `size_bytes`, such as `100MiB` or `1234567`."""
    for power in range(len(_LETTERS), 0, -1):
        for base, ending in ((1024, "iB"), (1000, "B")):
            if size_bytes and size_bytes % base**power == 0:
                return f"{size_bytes // base**power}{_LETTERS[power - 1]}{ending}"
    return str(size_bytes)


def readable_size(size_bytes: int) -> str:
    """Return about how much that is, for people: `532 B`, `1.5 KiB`, `12 MiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    power = min((size_bytes.bit_length() - 1) // 10, len(_LETTERS))
    number = size_bytes / 1024**power
    if number >= 1023.5 and power < len(_LETTERS):  # would be shown as 1024 of this unit
        number, power = number / 1024, power + 1
    return f"{number:.3g} {_LETTERS[power - 1]}iB" if number < 999.5 else f"{number:.0f} {_LETTERS[power - 1]}iB"
