"""Pauses that grow while something is away."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

FIRST: Final = timedelta(milliseconds=250)
LONGEST: Final = timedelta(seconds=5)
"""Once what was away is back, work goes on within this time."""


def pause_after(failures: int) -> timedelta:
    """Return the pause after the `failures`-th failure in a row: 0.25 s, 0.5 s, 1 s, … up to 5 s."""
    return LONGEST if failures > 5 else min(LONGEST, FIRST * 2 ** (failures - 1))
