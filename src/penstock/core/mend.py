"""What makes the times of a record reliable again: one that a Go instance wrote, or one from the future."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .progress import Progress, State

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from .transition import Context


def reliable(c: Context) -> Progress:
    """Return a record whose times can be relied on; the same one if they can be already."""
    progress = c.progress
    if progress.updated_at is None:
        return _adopted(c, progress)
    if progress.neglected(c.now):
        return _moved_back(progress, progress.updated_at - c.now, c.now)
    return progress


def _adopted(c: Context, progress: Progress) -> Progress:
    """Take over what a Go instance wrote: from here on it is measured as ours.

    What it awaits is not said again: the Go services do not recognise repeats, and would do long work twice.
    """
    step = progress.status.current_step
    return msgspec.structs.replace(
        progress,
        step_failures=progress.failed_attempts,
        step_started_at=c.now,
        deadline_at=c.policy.deadline(step, c.now) if progress.state is State.STEP else None,
        updated_at=c.now,
    )


def _moved_back(progress: Progress, jump: timedelta, now: datetime) -> Progress:
    """Move all times back when the clock was set back, so that a pause stays as long as it was meant to be."""

    def back(at: datetime | None) -> datetime | None:
        return None if at is None else at - jump

    return msgspec.structs.replace(
        progress,
        step_started_at=back(progress.step_started_at),
        heard_at=back(progress.heard_at),
        resume_at=back(progress.resume_at),
        deadline_at=back(progress.deadline_at),
        announce_at=back(progress.announce_at),
        updated_at=now,
    )
