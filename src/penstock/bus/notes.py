"""Notes that outlive the process that makes them, and that whoever shares the bus may take over."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Notes(Protocol):
    """Names that somebody has noted down. There is at most one note of a name; each time it gets a new number.

    All methods raise `BusUnavailable` when the server does not answer; what was asked may or may not have been done.
    """

    async def add(self, name: str) -> int:
        """Note `name` down, in place of a note that is there; return its number.

        When this returns, the note survives kill -9 of this process.
        """
        ...

    async def take(self, name: str, number: int | None = None) -> bool:
        """Remove the note of `name`, and tell whether it was there: of all who ask at the same time, one hears True.

        `number` leaves a note alone that was made after the one with this number; None: whichever is there is taken.
        """
        ...

    async def find(self, name: str) -> int | None:
        """Return the number of the note of `name`; None when there is none."""
        ...

    async def names(self) -> list[str]:
        """Return the names of which there are notes."""
        ...


@runtime_checkable
class KeepsNotes(Protocol):
    """A bus whose server can keep notes."""

    def notes(self) -> Notes:
        """Return the notes of all who share the bus, while it is open."""
        ...
