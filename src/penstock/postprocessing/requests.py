"""What operators ask of coordinators that run elsewhere: read from the store, asked for by events on the bus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from ..core.progress import FINISHED, State
from ..errors import ConfigurationError, Unavailable
from ..events.types import RestartPostprocessing, ResumePostprocessing, Timestamp
from ..store.base import KnowsAnswers
from .batch import in_batches
from .commands import IT_IS_DONE, Row, listed, select
from .inherited import count_inherited, is_inherited
from .survey import never_answered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ..bus.publish import Publisher
    from ..clock import Clock
    from ..core.progress import Progress
    from ..events.types import Event
    from ..store.base import Records, Saved
    from .inherited import Inherited

RESUME, RESTART = "resume", "restart"
_UNSEEN = "asked for; which uploads these are is in the memory of the service"
_ANNOUNCED_AGAIN = "its storage provider is asked to announce it again"


class Requests:
    """Publishes the events that the commands of the Go services publish, and tells which uploads they are about."""

    def __init__(self, *, store: Records | None, publisher: Publisher, clock: Clock, why_unseen: str = "") -> None:
        """Build it; `store` is None where the records cannot be seen, being in another process's memory.

        `why_unseen` says then why that process does not tell, in a sentence.
        """
        self._store = store
        self._why_unseen = why_unseen
        self._publisher = publisher
        self._clock = clock

    async def resume(self, upload_id: str | None, step: str | None, *, action: str = RESUME) -> list[Row]:
        """Ask for the current step of each selected upload to be started again; for the decision to be sent again.

        An upload that the store does not know is asked for as well: its storage provider is then asked to announce
        its bytes once more. With neither ID nor step: those that are `finished`.

        Raises:
            BusUnavailable: nothing is certain to have been asked for.
        """
        if self._store is None:
            rows = [Row(upload_id or "", "", action, step or FINISHED, ok=True, detail=_UNSEEN)]
        else:
            rows = [_row(saved.progress, action) async for saved in select(self._store, upload_id, step)]
        if upload_id and not rows:
            rows = [_unknown(upload_id, action)]
        if any(row.ok for row in rows):
            step = "" if upload_id else step or FINISHED
            await self._publish(ResumePostprocessing(upload_id=upload_id or "", step=step, timestamp=self._now()))
        return rows

    async def restart(self, upload_id: str | None, step: str | None) -> list[Row]:
        """Ask the storage provider to announce each selected upload anew, which has all its steps run again.

        Raises:
            ConfigurationError: it takes the store to know which uploads are meant, and that cannot be seen.
        """
        rows = []
        if not upload_id or self._store is not None:
            async for saved in select(self._seen(), upload_id, step):
                event = RestartPostprocessing(upload_id=saved.progress.upload_id, timestamp=self._now())
                rows.append(await self._one(saved.progress, RESTART, event, _ANNOUNCED_AGAIN))
        if upload_id and not rows:
            await self._publish(RestartPostprocessing(upload_id=upload_id, timestamp=self._now()))
            rows = [_unknown(upload_id, RESTART)]
        return rows

    async def inherited(self) -> Inherited:
        """Return what Go instances have left in the store.

        Raises:
            ConfigurationError: the store cannot be seen.
        """
        return await count_inherited(self.records(None))

    async def take_over(self, *, dry_run: bool = False) -> list[Row]:
        """Resume every upload that a Go instance moved last: its pauses were in that instance's memory only.

        Args:
            dry_run: only tell which they are.

        Raises:
            ConfigurationError: the store cannot be seen.
        """
        rows: list[Row] = []
        async for batch in in_batches(self._seen().all()):
            inherited = [saved.progress for saved in batch if is_inherited(saved.progress)]
            if dry_run:
                rows += [_row(progress, "would resume") for progress in inherited]
                continue
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._take_over_one(progress)) for progress in inherited]
            rows += [task.result() for task in tasks]
        return rows

    async def _take_over_one(self, progress: Progress) -> Row:
        event = ResumePostprocessing(upload_id=progress.upload_id, step="", timestamp=self._now())
        return await self._one(progress, "take over", event, _row(progress, "").detail)

    async def never_answered(self, steps: Iterable[str]) -> list[str]:
        """Return those of the steps that no service has ever answered; none where nobody can tell."""
        return await never_answered(self._store, steps) if isinstance(self._store, KnowsAnswers) else []

    def _seen(self) -> Records:
        if self._store is None:
            raise ConfigurationError(
                f"the records are in the memory of the service and cannot be seen from here: {self._why_unseen} "
                "Name one upload with --upload-id, or have the service use a store that keeps them, such as nats-js-kv."
            )
        return self._store

    def records(self, step: str | None) -> AsyncIterator[Saved]:
        """Yield the records of one step, or of all uploads that are not done.

        Raises:
            ConfigurationError: the store cannot be seen.
        """
        return listed(self._seen(), step)

    async def _one(self, progress: Progress, action: str, event: Event, detail: str) -> Row:
        """Publish for one upload; that it fails does not stop the others."""
        row = Row(progress.upload_id, progress.filename, action, progress.status.current_step, ok=True, detail=detail)
        try:
            await self._publish(event)
        except Unavailable as error:
            return msgspec.structs.replace(row, ok=False, detail=str(error))
        return row

    async def _publish(self, event: Event) -> None:
        await self._publisher.publish(event)

    def _now(self) -> Timestamp:
        return Timestamp.of(self._clock.now())


def _row(progress: Progress, action: str) -> Row:
    step = progress.status.current_step
    if progress.state is State.ENDED:
        detail = IT_IS_DONE
    elif progress.state is State.FAILED:
        detail = f"ended with {progress.status.outcome!r}; restart it to run its steps again"
    elif progress.state is State.FINISHED:
        detail = f"the decision {progress.status.outcome!r} is sent again"
    else:
        detail = f"step {step!r} is started again"
    ok = progress.state not in (State.FAILED, State.ENDED)
    return Row(progress.upload_id, progress.filename, action, step, ok=ok, detail=detail)


def _unknown(upload_id: str, action: str) -> Row:
    return Row(upload_id, "", action, "", ok=True, detail=f"not in the store; {_ANNOUNCED_AGAIN}")
