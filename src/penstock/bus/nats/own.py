"""Events that were published here for others, until they come back."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_KEPT: Final = 1024
"""At some 1 KiB each."""


class OwnEvents:
    """They are known by their bytes when they come back, and need not be read again."""

    def __init__(self) -> None:
        self._expected: OrderedDict[bytes, None] = OrderedDict()

    def expect(self, data: bytes) -> None:
        """Take down that an event is about to be published."""
        self._expected[data] = None
        if len(self._expected) > _KEPT:
            self._expected.popitem(last=False)

    def has_come_back(self, data: bytes) -> bool:
        """Tell whether an event is one that was expected; then it is so no longer."""
        if data not in self._expected:
            return False
        del self._expected[data]
        return True

    def forget(self) -> None:
        """Expect nothing any more."""
        self._expected.clear()
