"""One input of ours for many uploads, several at the same time; none of them keeps the others from theirs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from ..core.transition import Transition, Verdict
from ..errors import Unavailable
from ..store.base import Saved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..core.transition import Input
    from .coordinator import Coordinator

log = structlog.get_logger(__name__)

AT_ONCE = 32
"""Uploads that are worked on at the same time: stores let several share a trip or a commit."""


class Result(msgspec.Struct, frozen=True):
    """What became of one upload: `transition`, or the error that kept it from one."""

    saved: Saved
    transition: Transition | None = None
    error: Exception | None = None

    @property
    def applied(self) -> bool:
        """Whether its progress changed."""
        return self.transition is not None and self.transition.verdict is Verdict.APPLIED

    @property
    def unavailable(self) -> bool:
        """Whether the store or the bus was away."""
        return isinstance(self.error, Unavailable)


async def apply_each(coordinator: Coordinator, received: Input, uploads: Sequence[Saved]) -> list[Result]:
    """Apply one input to each of `uploads`, which were read just now; return what became of them, in their order.

    What went wrong is in the results; what is not the store's or the bus's absence is logged as well.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_apply(coordinator, received, saved)) for saved in uploads]
    results = [task.result() for task in tasks]
    broken = [result for result in results if result.error is not None and not result.unavailable]
    if broken:
        _report(broken)
    return results


async def _apply(coordinator: Coordinator, received: Input, saved: Saved) -> Result:
    try:
        return Result(saved, await coordinator.apply(saved.progress.upload_id, received, saved=saved))
    except Exception as error:  # noqa: BLE001  # whatever is wrong with one upload must not stop the others
        return Result(saved, error=error)


def _report(broken: Sequence[Result]) -> None:
    """Say which uploads could not be moved: one line for a batch, since they may be many, and come again."""
    log.error(
        "uploads_not_moved",
        uploads=[one.saved.progress.upload_id for one in broken],
        error=repr(broken[0].error),
        raised_at=_raised_at(broken[0].error),
    )


def _raised_at(error: Exception | None) -> str:
    """Return the file and the line that raised an error; a whole trace at each try would fill the log."""
    trace = error.__traceback__ if error is not None else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


async def in_batches(records: AsyncIterator[Saved], size: int = AT_ONCE) -> AsyncIterator[list[Saved]]:
    """Yield records by the batch, as they come."""
    batch: list[Saved] = []
    async for saved in records:
        batch.append(saved)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
