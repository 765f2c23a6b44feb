"""What Go instances have left in the store: which records they wrote, and what of them was in their memory only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..core.progress import FINISHED, RETRYING, State
from ..events.types import DELAY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..core.progress import Progress
    from ..store.base import Saved


class Inherited(msgspec.Struct, frozen=True):
    """How many records there are."""

    records: int = 0
    """Of uploads that are not done."""
    by_go: int = 0
    """That a Go instance wrote last, and that are not at their end."""
    retries: int = 0
    """Of these: whose pause before the next attempt was in that instance's memory."""
    delays: int = 0
    """Of these: whose delay may have been. Such a record shows the step behind the delay already."""


def is_inherited(progress: Progress) -> bool:
    """Tell whether a Go instance wrote a record last and somebody still has to bring the upload to its end."""
    return progress.updated_at is None and progress.state is not State.FAILED


async def count_inherited(records: AsyncIterator[Saved]) -> Inherited:
    """Count records."""
    total = by_go = retries = delays = 0
    async for saved in records:
        total += 1
        if is_inherited(saved.progress):
            by_go += 1
            retries += saved.progress.status.outcome == RETRYING
            delays += _is_behind_delay(saved.progress)
    return Inherited(total, by_go, retries, delays)


def _is_behind_delay(progress: Progress) -> bool:
    steps, current = progress.steps, progress.status.current_step
    if current == FINISHED:
        return steps[-1:] == (DELAY,)
    return current in steps and DELAY in steps[max(0, steps.index(current) - 1) : steps.index(current) + 1]
