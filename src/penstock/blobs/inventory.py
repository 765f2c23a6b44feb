"""What lies in a storage, as a list: for who looks for bytes that nobody needs any more.

A list is old as soon as it is there. So what is removed because of it is removed only as it was found: `remove_found`
leaves alone what has changed since.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime


class Stage(StrEnum):
    """What was found."""

    STAGED = "staged"
    """Bytes that are held back."""
    PIECES = "pieces"
    """Files that held staged bytes, or were to hold some, and of which nothing counts any more, or yet."""
    RELEASED = "released"
    """Bytes in their final place."""
    LENT = "lent"
    """A copy of staged bytes, for a step to fetch."""
    MARK = "mark"
    """A small file beside staged bytes, which says which of them count."""
    PROBE = "probe"
    """Something that was written to find out whether it can be."""
    PARTS = "parts"
    """Parts of an object that was never ended. Nobody sees them, and the service has them paid."""


class Found(NamedTuple):
    """One thing in a storage."""

    stage: Stage
    upload_id: str
    """The upload that it belongs to by its name; empty for a probe."""
    size_bytes: int
    changed_at: datetime
    """When it was written last, by the clock of the storage."""
    place: str
    """Where it lies: the name of a place for released bytes; empty: on this machine."""
    key: str
    """What the storage knows it by."""


@runtime_checkable
class SupportsInventory(Protocol):
    """The ability of a storage to say what lies in it, and to remove exactly that."""

    def inventory(self) -> AsyncGenerator[Sequence[Found], None]:
        """Yield, in batches, everything whose name is one that we give. What belongs to others is passed over.

        Raises:
            BlobUnavailable: the rest cannot be listed.
        """
        ...

    async def remove_found(self, found: Found) -> bool:
        """Remove one thing if it is still as it was found; return False, and leave it alone, if it is not.

        Raises:
            BlobUnavailable: it may still be there.
        """
        ...
