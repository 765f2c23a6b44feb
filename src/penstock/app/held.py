"""How `penstock antivirus server` has uploads go on that were held, also those of an instance that was killed.

Each upload that an instance holds is noted on the bus. Whoever has it go on publishes that first, under an ID that
belongs to the note, and takes the note away afterwards: so whoever dies in between leaves it to others, and what two
say at the same time counts once. An instance whose scanner works also asks for those that others have noted: when it
did not work a moment ago or was not there, and every now and then, for an instance that was killed may be the only one
that was ever without its scanner.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ..bus.base import BusUnavailable
from ..bus.notes import KeepsNotes
from ..bus.publish import Publisher
from ..events.types import (
    CancelPostprocessing,
    PostprocessingFinished,
    ResumePostprocessing,
    StartPostprocessingStep,
    Timestamp,
)
from ..ids import derived_id
from ..steps.held import LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..bus.base import Bus
    from ..bus.notes import Notes
    from ..clock import Clock
    from ..events.types import Envelope
    from .scanning import Scanning

log = structlog.get_logger(__name__)

_TRY_AGAIN_SECONDS: Final = 60.0
"""How long no notes are made after one could not be: each try takes time, and may not be allowed at all."""
_TIDIED_EVERY: Final = timedelta(seconds=1)
_ENDED_KEPT: Final = 10_000
"""So many uploads that have ended are remembered, so that nobody is asked to go on with them."""


class HeldUploads:
    """Notes down which uploads are held, and asks the coordinator to go on with them."""

    NEWS: Final = (StartPostprocessingStep, PostprocessingFinished, CancelPostprocessing, ResumePostprocessing)
    """What `hear` wants to hear of."""

    def __init__(self, bus: Bus, scanning: Scanning, clock: Clock) -> None:
        """Build it; `scanning` tells it from now on what is held."""
        self._notes: Notes | None = bus.notes() if isinstance(bus, KeepsNotes) else None
        self._publisher = Publisher(bus, clock)
        self._scanning = scanning
        self._clock = clock
        self._numbers: dict[str, int | None] = {}
        """The note of each upload that this instance has held; None: there is none."""
        self._gone: dict[str, int | None] = {}
        """Notes that are of no more use, with their numbers; None: whichever there is."""
        self._others: set[str] = set()
        """Uploads that others have noted, and that are to be asked for."""
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._no_notes_until = float("-inf")
        scanning.on_held(self.keep)

    async def run(self) -> None:
        """Have uploads go on whenever the scanner works again, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._scanning.look_after(self.hurry, self.noted))
            tasks.create_task(self._tidy())

    def hear(self, envelope: Envelope) -> None:
        """Hear what becomes of an upload. News may come twice, and late."""
        event = envelope.event
        match event:
            case StartPostprocessingStep():
                self._ended.pop(event.upload_id, None)
                if self._scanning.held.started(event.upload_id, envelope.event_id or envelope.id):
                    self._drop(event.upload_id)
            case ResumePostprocessing():
                self._scanning.somebody_works()
            case _:
                self._scanning.held.let_go(event.upload_id)
                self._drop(event.upload_id)
                self._ended[event.upload_id] = None
                if len(self._ended) > _ENDED_KEPT:
                    self._ended.popitem(last=False)

    async def keep(self, upload_id: str) -> None:
        """Note an upload down. Where that is not possible it is remembered by this process alone."""
        if self._notes is None or len(self._numbers) >= LIMIT:
            return
        self._numbers[upload_id] = None
        if self._clock.monotonic() < self._no_notes_until:
            return
        try:
            number = await self._notes.add(upload_id)
        except BusUnavailable as error:
            self._no_notes_until = self._clock.monotonic() + _TRY_AGAIN_SECONDS
            log.warning("held_upload_not_noted", upload=upload_id, error=str(error))
            return
        self._gone.pop(upload_id, None)
        if upload_id in self._numbers:
            self._numbers[upload_id] = number
        else:  # it has begun again, or ended, while it was noted down
            self._gone[upload_id] = number

    def _drop(self, upload_id: str) -> None:
        """Have our note of an upload removed that goes on by itself."""
        number = self._numbers.pop(upload_id, None)
        if number is not None:
            self._gone[upload_id] = number

    async def _tidy(self) -> None:
        while True:
            await self._clock.sleep(_TIDIED_EVERY)
            while self._notes is not None and self._gone:
                upload_id, number = next(iter(self._gone.items()))
                try:
                    await self._notes.take(upload_id, number)
                except BusUnavailable as error:
                    log.warning("notes_not_removed", notes=len(self._gone), error=str(error))
                    break
                if self._gone.get(upload_id, ...) == number:  # and not a later one that came meanwhile
                    del self._gone[upload_id]

    async def noted(self) -> list[str]:
        """Return the uploads that others have noted down.

        Raises:
            BusUnavailable: there is no answer.
        """
        names = [] if self._notes is None else await self._notes.names()
        for name in names:
            if name in self._ended and name not in self._numbers:
                self._gone.setdefault(name, None)
        others = [name for name in names if name not in self._numbers and name not in self._gone]
        self._others.update(others)
        return others

    async def hurry(self, upload_ids: Sequence[str]) -> Sequence[str]:
        """Ask the coordinator to start the step again, as the command `resume` does, upload by upload.

        Asked for the step as a whole, a Go coordinator would also start again what others are scanning just now.
        Returns those that could not be asked for.
        """
        for asked, upload_id in enumerate(upload_ids):
            try:
                await self._have_go_on(upload_id)
            except BusUnavailable as error:
                log.warning("uploads_not_hurried", uploads=len(upload_ids) - asked, error=str(error))
                return upload_ids[asked:]
        return ()

    async def _have_go_on(self, upload_id: str) -> None:
        """Ask for one upload, and then take its note away, unless somebody else has done both."""
        number = self._numbers.get(upload_id)
        if self._notes is not None and upload_id not in self._numbers:
            # Ours, but it has begun again meanwhile, or ended; or that of another.
            number = await self._notes.find(upload_id) if upload_id in self._others else None
            if number is None:  # whoever took it had asked before, or heard that there is nothing to ask for
                self._others.discard(upload_id)
                return
        await self._ask_for(upload_id, number)
        if self._notes is not None and number is not None:
            await self._notes.take(upload_id, number)
        self._others.discard(upload_id)
        if self._numbers.get(upload_id, ...) == number:  # and it was not held once more meanwhile
            del self._numbers[upload_id]

    async def _ask_for(self, upload_id: str, number: int | None) -> None:
        """Publish that an upload goes on; what is said of one note, by whomever and how often, is one event."""
        now = Timestamp.of(self._clock.now())
        event_id = "" if number is None else derived_id(upload_id, "held", number)
        await self._publisher.publish(ResumePostprocessing(upload_id=upload_id, timestamp=now), event_id=event_id)
