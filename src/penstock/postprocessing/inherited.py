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
    """That a Go instance has moved last, and that are not at their end."""
    retries: int = 0
    """Of these: whose pause before the next attempt was in that instance's memory."""
    delays: int = 0
    """Of these: whose delay may have been. Such a record shows the step behind the delay already."""


def is_inherited(progress: Progress) -> bool:
    """Tell whether what an upload awaits was said by a Go instance, if by anybody, and is still awaited.

    An instance of ours that has met such a record since gives it times of its own, but does not say again what it
    awaits (`core.mend`): a Go instance that runs beside it may have said it, and may still.
    """
    if progress.state in (State.FAILED, State.ENDED):
        return False
    is_ours = progress.announced > 0 or progress.resume_at is not None or progress.heard_at is not None
    return not is_ours


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
