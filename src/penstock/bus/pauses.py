"""How long an event whose handler has raised waits for its next try."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_FIRST: Final = timedelta(milliseconds=100)
_LONGEST: Final = timedelta(seconds=30)


def pause_after(failures: int) -> timedelta:
    """Return the pause after the `failures`-th failure: 0.1 s, 0.2 s, 0.4 s, … up to 30 s."""
    return _LONGEST if failures > 9 else min(_LONGEST, _FIRST * 2 ** (failures - 1))
