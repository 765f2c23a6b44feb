"""What services of another make have left on a bus: its stream, and their place in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StreamFound:
    """The stream of events, as it is."""

    name: str
    made: bool
    """Whether there was none, and it was made just now."""
    events: int
    differences: tuple[str, ...] = ()
    """What is unlike the stream of the Go services, and does no harm; in words."""
    trouble: tuple[str, ...] = ()
    """What keeps it from carrying events as it has to; in words."""


@dataclass(frozen=True, slots=True)
class PlaceFound:
    """How far a group has got: a durable consumer."""

    name: str
    pushes: bool
    """Whether the server sends events to whoever is connected; otherwise instances ask for them."""
    connected: bool
    """Whether an instance takes events from it now."""
    waiting: int
    """Events that nobody has handled yet."""
    handled_up_to: int
    """All events up to this number were handled."""


class Inheritance(Protocol):
    """Looks at what there is, and makes it ours."""

    async def stream(self) -> StreamFound:
        """Look at the stream.

        Raises:
            BusUnavailable: there is no answer.
        """
        ...

    async def places(self, group: str) -> list[PlaceFound]:
        """Look for the consumers of a group.

        Raises:
            BusUnavailable: there is no answer.
        """
        ...

    async def replace(self, group: str) -> PlaceFound | None:
        """Have the group go on where its pushing consumer has got to, with one that is pulled from; remove the former.

        Nobody may be connected to it. Returns the new place; None when there is no pushing consumer. If this fails in
        the middle, both are there, and it can be called again.

        Raises:
            BusUnavailable: there is no answer.
        """
        ...
