"""Decides whether an upload may begin, or go on now, before a byte of it is read; whatever the protocol.

What has to hold for all processes together, quotas and the number of unfinished uploads, the catalogue decides where it
writes (`quota`). Here is what needs no memory beyond this process: sizes, how often, and how many at the same moment.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from ..allowances import UNLIMITED
from ..errors import TooMany
from ..limits import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from ...clock import Clock
    from ..allowances import Allowances, Subject

_MINUTE: Final = 60.0
_REMEMBERED: Final = 10_000
"""Beyond so many, those are forgotten who have not begun anything for a minute."""
_AGAIN_SECONDS: Final = 2
_UNCOUNTED: Final = nullcontext()


class Admission:
    """The one at the door.

    Args:
        allowances: who may have what.
        clock: measures how often somebody comes.
    """

    def __init__(self, clock: Clock, allowances: Allowances = UNLIMITED) -> None:
        self._clock = clock
        self._allowances = allowances
        # Each upload asks for all of these; mostly nobody is limited.
        self._limits_size = any(one.max_size_bytes is not None for one in allowances.every)
        self._limits_rate = any(one.max_per_minute is not None for one in allowances.every)
        self._limits_receiving = any(one.max_receiving is not None for one in allowances.every)
        self._receiving: Counter[Subject] = Counter()
        self._due: dict[Subject, float] = {}
        """When all would have come that somebody has begun, had they come evenly (monotonic seconds)."""

    def largest(self, space: str, owner: str) -> int | None:
        """Return the largest file that may be sent; None: any."""
        most = self._allowances.largest(space, owner) if self._limits_size else None
        return None if most is None else most[0]

    def check_size(self, space: str, owner: str, size_bytes: int) -> None:
        """Compare a size with the limits.

        Raises:
            TooLarge: it is over one of them.
        """
        most = self._allowances.largest(space, owner) if self._limits_size else None
        if most is not None:
            check_size(size_bytes, most[0], whose=most[1])

    def begin(self, space: str, owner: str) -> None:
        """Count an upload that is about to begin.

        Raises:
            TooMany: too many have begun within a minute; this one was not counted.
        """
        if not self._limits_rate:
            return
        now = self._clock.monotonic()
        dues: dict[Subject, float] = {}
        for subject, allowance in self._allowances.about(space, owner):
            most = allowance.max_per_minute
            if most is not None:
                due = max(self._due.get(subject, now), now) + _MINUTE / most
                if due - now > _MINUTE + 1e-6:
                    wait = math.ceil(due - now - _MINUTE)
                    raise TooMany.creations(subject, most, retry_after_seconds=wait)
                dues[subject] = due
        self._due |= dues
        if len(self._due) > _REMEMBERED:
            self._due = {subject: due for subject, due in self._due.items() if due > now}

    def receiving(self, space: str, owner: str) -> AbstractContextManager[None]:
        """Count a request while its bytes are taken in.

        Raises:
            TooMany: there are too many at this moment; nothing was read.
        """
        return self._counted(space, owner) if self._limits_receiving else _UNCOUNTED

    @contextmanager
    def _counted(self, space: str, owner: str) -> Iterator[None]:
        limited = []
        for subject, allowance in self._allowances.about(space, owner):
            most = allowance.max_receiving
            if most is not None:
                if self._receiving[subject] >= most:
                    raise TooMany.requests(subject, most, retry_after_seconds=_AGAIN_SECONDS)
                limited.append(subject)
        self._receiving.update(limited)
        try:
            yield
        finally:
            self._receiving.subtract(limited)
            for subject in limited:
                if not self._receiving[subject]:
                    del self._receiving[subject]
