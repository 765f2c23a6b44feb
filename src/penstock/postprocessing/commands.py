"""What operators ask for: go on with uploads that stand still, and say which ones there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from ..core.progress import FINISHED, State
from ..core.transition import Verdict
from ..errors import PenstockError
from ..events.types import Envelope, ResumePostprocessing
from ..ids import new_event_id
from .batch import in_batches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ..core.progress import Progress
    from ..core.transition import Transition
    from ..store.base import ProgressStore, Saved
    from .coordinator import Coordinator


IT_IS_DONE = "it is done; there is nothing to resume"


class Row(msgspec.Struct, frozen=True):
    """What was done about one upload. `ok` is False when nothing was; `detail` says why."""

    id: str
    filename: str
    action: str
    step: str
    ok: bool
    detail: str = ""


class Commands:
    """Carries out the operators' commands on the records of a store."""

    def __init__(self, *, store: ProgressStore, coordinator: Coordinator) -> None:
        self._store = store
        self._coordinator = coordinator

    def select(self, upload_id: str | None, step: str | None) -> AsyncIterator[Saved]:
        """Yield the records that a command is about, as `select` does."""
        return select(self._store, upload_id, step)

    async def resume(self, upload_id: str | None, step: str | None) -> list[Row]:
        """Start the current step of each selected upload again; repeat the decision of those that have one.

        An upload that fails does not stop the others.
        """
        return await self._resume(self.select(upload_id, step))

    async def hurry(self, step: str, upload_ids: Iterable[str]) -> list[Row]:
        """Start a step at once for those of some uploads that wait for their next try of it: what failed works again.

        Those whose step is running, or over, are left alone.
        """
        return await self._resume(_pausing(self._store, step, upload_ids))

    async def pausing(self, step: str) -> list[str]:
        """Return the IDs of the uploads that wait for their next try of a step."""
        return [
            saved.progress.upload_id
            async for saved in self._store.in_step(step)
            if saved.progress.state is State.BACKOFF
        ]

    async def _resume(self, chosen: AsyncIterator[Saved]) -> list[Row]:
        rows: list[Row] = []
        async for batch in in_batches(chosen):
            await self._coordinator.room()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.resume_one(saved)) for saved in batch]
            rows += [task.result() for task in tasks]
        return rows

    async def resume_one(self, saved: Saved) -> Row:
        """Resume one upload and tell what became of it."""
        progress = saved.progress

        def row(*, ok: bool, detail: str) -> Row:
            return Row(progress.upload_id, progress.filename, "resume", progress.status.current_step, ok, detail)

        if progress.state is State.ENDED:
            return row(ok=False, detail=IT_IS_DONE)
        if progress.state is State.FAILED:
            return row(ok=False, detail=f"ended with {progress.status.outcome!r}; restart it to run its steps again")
        envelope = Envelope(event=ResumePostprocessing(upload_id=progress.upload_id), event_id=new_event_id())
        try:
            transition = await self._coordinator.apply(progress.upload_id, envelope)
        except PenstockError as error:
            return row(ok=False, detail=str(error))
        return row(ok=transition.verdict in (Verdict.APPLIED, Verdict.REPEATED), detail=_told(progress, transition))


async def select(store: ProgressStore, upload_id: str | None, step: str | None) -> AsyncIterator[Saved]:
    """Yield the records that a command is about: one upload, else all in `step` (None: `finished`)."""
    if upload_id:
        saved = await store.get(upload_id)
        if saved is not None:
            yield saved
        return
    async for saved in listed(store, step or FINISHED):
        yield saved


async def _pausing(store: ProgressStore, step: str, upload_ids: Iterable[str]) -> AsyncIterator[Saved]:
    for upload_id in upload_ids:
        saved = await store.get(upload_id)
        if saved is not None and saved.progress.state is State.BACKOFF and saved.progress.status.current_step == step:
            yield saved


async def listed(store: ProgressStore, step: str | None) -> AsyncIterator[Saved]:
    """Yield the records of one step, or of all uploads that are not done."""
    async for saved in store.in_step(step) if step else store.all():
        if saved.progress.state is not State.ENDED:
            yield saved


def _told(before: Progress, transition: Transition) -> str:
    after = transition.progress
    if transition.verdict not in (Verdict.APPLIED, Verdict.REPEATED):
        return f"nothing was done: {transition.reason}"
    if after is None:
        return "it has no record any more; the storage side was asked to begin it anew"
    if after.state is State.FINISHED:
        return f"the decision {after.status.outcome!r} was sent again" + _because(after)
    if after.state is State.DELAY:
        return "the delay goes on" + (f" until {after.resume_at:%Y-%m-%d %H:%M:%S} UTC" if after.resume_at else "")
    early = ", before its pause was over" if before.state is State.BACKOFF else ""
    return f"step {after.status.current_step!r} was started again{early}, attempt {after.attempt}" + _because(after)


def _because(progress: Progress) -> str:
    return f"; the last error was: {progress.last_error}" if progress.last_error else ""
