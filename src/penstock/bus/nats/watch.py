"""Notices that the stream has lost what was on its way: made anew, set back, or emptied."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

import structlog
from nats.js.api import RetentionPolicy

from .failures import NATS_ERRORS, told
from .streams import EVENTS, make_events_stream

if TYPE_CHECKING:
    from nats.js.api import StreamInfo
    from nats.js.manager import JetStreamManager

    from ...clock import Clock
    from ..memory import Memory

log = structlog.get_logger(__name__)

_SKEW: Final = timedelta(seconds=5)
"""The server's clock, by which a stream was made, may be behind ours by this much."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a stream looked like."""

    created: datetime | None
    first: int
    last: int
    messages: int
    keeps_handled: bool = True
    """Whether messages stay after everybody has handled them, so that their absence means something."""

    @classmethod
    def of(cls, info: StreamInfo) -> Self:
        """Take the mark of a stream."""
        state = info.state
        keeps = info.config.retention in (None, RetentionPolicy.LIMITS)
        return cls(info.created, state.first_seq, state.last_seq, state.messages, keeps)

    def lost_by(self, now: Mark) -> str:
        """Tell how all that was in the stream has got lost by `now`; empty when it has not."""
        if now.created != self.created:
            return "it was made anew"
        if now.last < self.last:
            return "it was set back"
        until = self.last if self.messages else self.last + 1  # of an empty one: what came and went since counts
        if now.first > until and self.keeps_handled:
            return "it was emptied"
        return ""


class Watch:
    """Looks at the stream again and again, and moves the bus's memory when what it held is gone."""

    def __init__(self, manager: JetStreamManager, clock: Clock, memory: Memory, *, every: timedelta) -> None:
        """`every`: between two looks."""
        self._manager = manager
        self._clock = clock
        self._memory = memory
        self._every = every
        self._mark: Mark | None = None
        self.has_made = False
        """Whether there was no stream when we first looked, and it was made."""
        self.trouble = ""
        """Why there is no stream to be seen, as of the last look, in a sentence; empty when there is one."""
        self.looks = 0
        """How often the stream was looked at."""

    @property
    def first(self) -> int:
        """The number of the first message in the stream, as of the last look."""
        return self._mark.first if self._mark else 0

    async def begin(self) -> None:
        """Look for the first time, and make the stream if there is none.

        What was published before it was made is not in it, whoever made it, and however long ago.

        Raises:
            nats.errors.Error: there is no answer, or it cannot be made.
        """
        info, self.has_made = await make_events_stream(self._manager)
        self._mark = Mark.of(info)
        if self.has_made or info.created is None:
            self._memory.begin(self._clock.now())
        else:
            self._memory.begin(info.created.astimezone(UTC) + _SKEW)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(self._every)
            try:
                await self._look()
            except NATS_ERRORS as error:  # what is lost meanwhile is seen afterwards
                self._note_trouble(error)
            else:
                self._note_no_trouble()

    def _note_trouble(self, error: Exception) -> None:
        if not self.trouble:
            log.warning("stream_not_seen", stream=EVENTS, error=told(error))
        self.trouble = f"The server does not show the stream {EVENTS}: {told(error)}."

    def _note_no_trouble(self) -> None:
        if self.trouble:
            log.info("stream_seen_again", stream=EVENTS)
        self.trouble = ""

    async def _look(self) -> None:
        info, _ = await make_events_stream(self._manager)
        before, self._mark = self._mark, Mark.of(info)
        self.looks += 1
        how = before.lost_by(self._mark) if before else ""
        if how:
            log.warning("stream_lost_its_events", stream=EVENTS, how=how, hint="what uploads await is said again")
            self._memory.begin(self._clock.now())
