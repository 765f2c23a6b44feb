"""Tells a dead holder of a lease from one that lives, where the database's clock was set back.

That lets the last words of a dead instance hold for as long. One that lives says something else again and again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST: Final = 1000
"""Of how many uploads words are kept; what is more than that begins anew."""


class LastWords:
    """What holders were heard to say, over all who ask: also those who do not wait, and come back later."""

    def __init__(self, silence_seconds: float, monotonic: Callable[[], float]) -> None:
        """After `silence_seconds` without another word, a holder is dead."""
        self._silence_seconds = silence_seconds
        self._monotonic = monotonic
        self._heard: dict[str, tuple[int, float]] = {}
        """By upload: the words, and since when they are known."""

    def heard(self, upload_id: str, alive_until: int) -> int | None:
        """Note what an upload's holder has said last; return that if it was so for too long, else None."""
        words, since = self._heard.get(upload_id, (None, 0.0))
        if words == alive_until:
            return alive_until if self._monotonic() - since > self._silence_seconds else None
        if len(self._heard) >= _MOST:
            self._heard.clear()
        self._heard[upload_id] = alive_until, self._monotonic()
        return None

    def forget(self, upload_id: str) -> None:
        """Forget what was said of an upload, which has another holder now."""
        self._heard.pop(upload_id, None)
