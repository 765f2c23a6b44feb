"""Events that could not be handled, as operators see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..errors import PenstockError


class OriginalGone(PenstockError):
    """The event was too large to be kept twice, and what the stream of events had of it is gone."""

    code = "original-gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAsideEvent:
    """An event that could not be handled."""

    number: int
    """Names it for `KeptAside.again` and `KeptAside.discard`."""
    group: str
    """Whose handler could not."""
    reason: str
    sequence: int
    """Of the original in the stream of events."""
    event_type: str
    """Without prefix; empty where unreadable, as are `event_id` and `upload_id`."""
    event_id: str
    upload_id: str
    at: datetime | None
    """When it was set aside."""
    data: bytes
    """The message as it came; empty when it was too large to be kept twice: it is in the stream of events."""


class KeptAside(Protocol):
    """What all instances have set aside."""

    async def count(self) -> int:
        """Return how many are kept.

        Raises:
            BusUnavailable: there is no answer.
        """
        ...

    async def events(self, *, limit: int = 100, after: int = 0) -> list[SetAsideEvent]:
        """Return what is kept, the oldest first, beginning behind number `after`.

        Raises:
            BusUnavailable: there is no answer.
        """
        ...

    async def again(self, number: int) -> SetAsideEvent:
        """Publish an event again, for everybody, and keep it no longer: whatever was in its way has been corrected.

        Raises:
            NotFound: there is no such event.
            OriginalGone: there is nothing left to publish.
            BusUnavailable: there is no answer.
        """
        ...

    async def discard(self, number: int) -> SetAsideEvent:
        """Keep an event no longer.

        Raises:
            NotFound: there is no such event.
            BusUnavailable: there is no answer.
        """
        ...
