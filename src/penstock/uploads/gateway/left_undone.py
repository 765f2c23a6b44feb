"""Finds what a death, a bus or a storage has left undone with uploads, and has it done: at start, and now and then.

What is to be done with an upload follows from what the catalogue says of it, so it can be found at any time.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ...errors import PenstockError
from ...rests import Rests
from ..upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from ...bus.memory import Memory
    from ...clock import Clock
    from ..catalogue.catalogue import Catalogue
    from ..locking.turns import Turns
    from .begun import Begun
    from .deeds import Deeds

log = structlog.get_logger(__name__)

_START: Final = timedelta(seconds=0.5)
"""How long a start is held up by looking at what has not arrived; and then by announcing."""
_STRETCH: Final = 8
"""Uploads that are announced before others have their turn, and there has to be room for more."""
_FAILURES: Final = 3
"""After so many uploads whose bytes could not be removed, one after the other, the rest is left: each may take half a
minute."""
_LOOKS: Final = 32
"""Unfinished uploads that are looked at before somebody looks at the time."""


async def no_wait() -> None:
    """Wait for nothing."""


class LeftUndone:
    """Looks for it.

    Args:
        catalogue: knows all uploads.
        deeds: what is done.
        turns: one at a time works on an upload.
        memory: how far back the bus remembers.
        clock: measures patience.
        begun: knows what need not be announced.
        room: waits until what is announced is handled for the most part.
        complete: begins the processing of an upload, by its ID, if all of it is there; as `Gateway.complete`.
        withdraw: removes what a release has left in the final place of an upload that is rejected; as
            `Gateway.withdraw`.
        is_held: tells whether a request works on an upload, and sees to it that it is completed.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        deeds: Deeds,
        turns: Turns,
        memory: Memory,
        clock: Clock,
        begun: Begun,
        room: Callable[[], Awaitable[None]],
        complete: Callable[..., Awaitable[Upload]],
        withdraw: Callable[[str], Awaitable[bool]],
        is_held: Callable[[str], bool],
    ) -> None:
        self._catalogue = catalogue
        self._deeds = deeds
        self._turns = turns
        self._memory = memory
        self._memory_began_at = memory.begins_at
        self._clock = clock
        self._begun = begun
        self._room = room
        self._complete = complete
        self._withdraw = withdraw
        self._is_held = is_held
        self._unfinished_are_left = False
        self._unfinished_after: str | None = None

    async def begin(self) -> None:
        """Do what is to be done at a start."""
        self._unfinished_are_left = True
        await self._complete_unfinished(_START)
        await self.catch_up(patience=_START)

    async def inherit(self, upload_ids: Sequence[str]) -> None:
        """Do what the death of another instance may have left undone with uploads that it was working on."""
        for upload in (await self._catalogue.get_many(upload_ids)).values():
            with later(upload):
                if upload.phase is Phase.REJECTED:  # it was being released from quarantine
                    await self._withdraw(upload.id)
                else:
                    await self._complete(upload.id, ask=False)

    async def catch_up(self, *, patience: timedelta | None = None) -> None:
        """Say what the bus would not take, or has lost since, and remove bytes that could not be removed.

        After `patience` the rest is left for the next time.
        """
        if self._memory.begins_at != self._memory_began_at:
            self._memory_began_at = self._memory.begins_at
            self._deeds.forget_announcements()
        if patience is None:
            await self._complete_finals()
        announced = await self._announce_all(patience)
        await self._discard_all(patience)
        if announced:
            log.info("uploads_in_processing_announced", uploads=announced)
        if patience is None:
            await self._complete_unfinished(None)

    async def _discard_all(self, patience: timedelta | None) -> None:
        """Remove bytes that could not be removed; a storage that is away holds nothing else up for long.

        In any order: those that fail again and again are not always the first ones.
        """
        ends_at = None if patience is None else self._clock.monotonic() + patience.total_seconds()
        failed = 0
        async for batch in self._catalogue.to_discard():
            for upload in random.sample(batch, len(batch)):
                if failed == _FAILURES or (ends_at is not None and self._clock.monotonic() > ends_at):
                    return
                if self._deeds.is_releasing(upload.id):
                    continue
                failed += 1
                async with self._turns.of(upload.id):
                    with later(upload):
                        await self._deeds.give_up(upload)
                        failed = 0

    async def _complete_unfinished(self, patience: timedelta | None) -> None:
        """Complete those of which all has arrived: once, since no process that lives leaves any.

        Each of them is asked for, which takes its time where they are staged in a bucket: thousands do not hold up a
        start.
        """
        ends_at = None if patience is None else self._clock.monotonic() + patience.total_seconds()
        while self._unfinished_are_left and (ends_at is None or self._clock.monotonic() <= ends_at):
            page = await self._catalogue.list(phases=[Phase.RECEIVING], limit=_LOOKS, cursor=self._unfinished_after)
            for upload in page.uploads:
                if not upload.parts and not self._is_held(upload.id):
                    with later(upload):
                        await self._complete(upload.id)
            self._unfinished_after, self._unfinished_are_left = page.next, page.next is not None

    async def _complete_finals(self) -> None:
        for final in await self._catalogue.waiting_finals():
            with later(final):
                await self._complete(final.id)

    async def _announce_all(self, patience: timedelta | None) -> int:
        """Announce what is in processing, was not announced, and has no record; return how many."""
        ends_at = None if patience is None else self._clock.monotonic() + patience.total_seconds()
        announced, walk, telling = 0, Rests(self._clock), Rests(self._clock, stretch=_STRETCH, share=1.0)
        async for runs in self._catalogue.runs_in_processing():
            if ends_at is not None and self._clock.monotonic() > ends_at:
                break
            for upload_id in await self._unheard_of(runs):
                if ends_at is not None and self._clock.monotonic() > ends_at:
                    return announced
                announced += await self._announce(upload_id)
                await telling.after()
                if announced % _STRETCH == 0:
                    await self._room()
            await walk.after(len(runs))
        return announced

    async def _unheard_of(self, runs: Mapping[str, int]) -> list[str]:
        """Return those of some uploads of whose run nobody seems to have heard; note the others as announced.

        What is being released was decided about, and to wait for that may take hours.
        """
        open_ones = {
            upload_id: run
            for upload_id, run in runs.items()
            if not self._deeds.announced(upload_id, run) and not self._deeds.is_releasing(upload_id)
        }
        if not open_ones:
            return []
        for upload_id in await self._begun.among(open_ones):
            self._deeds.note_announced(upload_id, open_ones.pop(upload_id))
        return list(open_ones)

    async def _announce(self, upload_id: str) -> bool:
        async with self._turns.of(upload_id):
            upload = await self._catalogue.get(upload_id)  # it may have ended while we waited
            if upload is None or upload.phase is not Phase.PROCESSING:
                return False
            with later(upload):
                upload = await self._deeds.announce(upload)
        return self._deeds.announced(upload.id, upload.run)


@contextmanager
def later(upload: Upload) -> Iterator[None]:
    """Leave what does not work now for the next time, so that one upload holds up no others."""
    try:
        yield
    except PenstockError as error:
        log.warning("upload_left_for_later", upload=upload.id, phase=upload.phase, error=str(error))
