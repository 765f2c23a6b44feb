"""Tells a dead holder of a lease from one that lives, where the database's clock was set back.

That lets the last words of a dead instance hold for as long. One that lives says something else again and again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST: Final = 1000
"""Of how many words are kept; what is more than that begins anew."""


class LastWords:
    """What instances were heard to say: those that hold an upload, by it, or all of them, each by its own ID.

    Over all who ask: also those who do not wait, and come back later.
    """

    def __init__(self, silence_seconds: float, monotonic: Callable[[], float]) -> None:
        """After `silence_seconds` without another word, a holder is dead."""
        self._silence_seconds = silence_seconds
        self._monotonic = monotonic
        self._heard: dict[str, tuple[int, float]] = {}
        """By upload, or instance: the words, and since when they are known."""

    def heard(self, name: str, alive_until: int) -> int | None:
        """Note what an upload's holder, or an instance, has said last; return that if it was so for too long."""
        words, since = self._heard.get(name, (None, 0.0))
        if words == alive_until:
            return alive_until if self._monotonic() - since > self._silence_seconds else None
        if len(self._heard) >= _MOST:
            self._heard.clear()
        self._heard[name] = alive_until, self._monotonic()
        return None

    def silent(self, said: Mapping[str, int]) -> dict[str, int]:
        """Note what all have said last; return those who have said it for too long, and forget them."""
        found = {name: words for name, words in said.items() if self.heard(name, words) is not None}
        for name in found:
            self.forget(name)
        return found

    def forget(self, name: str) -> None:
        """Forget what was said: the upload has another holder now, or the instance is gone."""
        self._heard.pop(name, None)
