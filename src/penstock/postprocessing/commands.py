"""What operators ask for: go on with uploads that stand still, and say which ones there are."""

from __future__ import annotations

import asyncio
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from ..core.progress import FINISHED, State
from ..core.transition import Verdict
from ..errors import PenstockError
from ..events.types import Envelope, ResumePostprocessing
from ..ids import new_event_id
from .batch import in_batches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from ..core.progress import Progress
    from ..core.transition import Transition
    from ..store.base import ProgressStore, Records, Saved
    from .coordinator import Coordinator


IT_IS_DONE = "it is done; there is nothing to resume"
_AWAITED = 512
"""Uploads that are gone on with before `resume` returns: a second or less."""


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

        An upload that fails does not stop the others. Where there are many, the coordinator is asked to go on with
        the rest, and works through it after this has returned: more than some hundreds nobody wants to wait for.

        Raises:
            BusUnavailable: those were not asked for.
        """
        event_id = new_event_id()  # for all: the coordinator meets the first ones again, and recognises it
        rows, rest = list[Row](), list[Row]()
        first: dict[str, Progress] = {}
        async for batch in in_batches(self.select(upload_id, step)):
            if len(rows) < _AWAITED:
                rows += await self._resume_batch(batch, event_id)
                first |= {saved.progress.upload_id: saved.progress for saved in batch}
            else:
                rest += [_asked(saved.progress) for saved in batch]
        if rest:
            await self._coordinator.ask(ResumePostprocessing(step=step or FINISHED), event_id)
            # Which is about all of them, so also those that could not be gone on with at once.
            rows = [row if row.ok else _asked(first[row.id]) for row in rows]
        return rows + rest

    async def hurry(self, step: str, upload_ids: Iterable[str]) -> list[str]:
        """Start a step at once for those of some uploads that wait for their next try of it: what failed works again.

        Those whose step is over are left alone. Returns those whose step is running, as far as is known: the answer
        that failed may be under way.
        """
        running: list[str] = []
        async for batch in in_batches(_pausing(self._store, step, upload_ids, running)):
            await self._resume_batch(batch, new_event_id())
        return running

    async def pausing(self, step: str) -> list[str]:
        """Return the IDs of the uploads that wait for their next try of a step."""
        return [
            saved.progress.upload_id
            async for saved in self._store.in_step(step)
            if saved.progress.state is State.BACKOFF
        ]

    async def _resume_batch(self, batch: Sequence[Saved], event_id: str) -> list[Row]:
        await self._coordinator.room()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.resume_one(saved, event_id)) for saved in batch]
        return [task.result() for task in tasks]

    async def resume_one(self, saved: Saved, event_id: str = "") -> Row:
        """Resume one upload and tell what became of it; `event_id` tells this wish from others (empty: one of its own).

        `saved` was read just now.
        """
        progress = saved.progress

        def row(*, ok: bool, detail: str) -> Row:
            return Row(progress.upload_id, progress.filename, "resume", progress.status.current_step, ok, detail)

        if (why_not := _nothing_to_resume(progress)) is not None:
            return row(ok=False, detail=why_not)
        event = ResumePostprocessing(upload_id=progress.upload_id)
        envelope = Envelope(event=event, event_id=event_id or new_event_id())
        try:
            transition = await self._coordinator.apply(progress.upload_id, envelope, saved=saved)
        except PenstockError as error:
            return row(ok=False, detail=str(error))
        return row(ok=transition.verdict in (Verdict.APPLIED, Verdict.REPEATED), detail=_told(progress, transition))


async def select(store: Records, upload_id: str | None, step: str | None) -> AsyncIterator[Saved]:
    """Yield the records that a command is about: one upload, else all in `step` (None: `finished`)."""
    if upload_id:
        saved = await store.get(upload_id)
        if saved is not None:
            yield saved
        return
    async for saved in listed(store, step or FINISHED):
        yield saved


async def _pausing(
    store: ProgressStore, step: str, upload_ids: Iterable[str], running: list[str]
) -> AsyncIterator[Saved]:
    """Yield the records that pause in `step`, and put the IDs of those that are in it into `running`."""
    for upload_id in upload_ids:
        saved = await store.get(upload_id)
        if saved is None or saved.progress.status.current_step != step:
            continue
        if saved.progress.state is State.BACKOFF:
            yield saved
        elif saved.progress.state is State.STEP:
            running.append(upload_id)


async def listed(store: Records, step: str | None) -> AsyncIterator[Saved]:
    """Yield the records of one step, or of all uploads that are not done."""
    async for saved in store.in_step(step) if step else store.all():
        if saved.progress.state is not State.ENDED:
            yield saved


def _nothing_to_resume(progress: Progress) -> str | None:
    if progress.state is State.ENDED:
        return IT_IS_DONE
    if progress.state is State.FAILED:
        return f"ended with {progress.status.outcome!r}; restart it to run its steps again"
    return None


def _asked(progress: Progress) -> Row:
    """Tell of an upload that the coordinator goes on with soon."""
    why_not, status = _nothing_to_resume(progress), progress.status
    detail = why_not or _in_its_turn(status.outcome if progress.state is State.FINISHED else None, status.current_step)
    step = sys.intern(status.current_step)
    return Row(progress.upload_id, progress.filename, "resume", step, ok=why_not is None, detail=detail)


@lru_cache(maxsize=64)  # one text for a hundred thousand uploads
def _in_its_turn(outcome: str | None, step: str) -> str:
    again = f"step {step!r} is started" if outcome is None else f"the decision {outcome!r} is sent"
    return f"{again} again in its turn: there are many"


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
