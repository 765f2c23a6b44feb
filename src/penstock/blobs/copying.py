"""The abilities that let a service copy bytes by itself at a release: they need not come through here once more.

It is asked for single objects only: to put several together, each service has a way and limits of its own
(decision 0018).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class SupportsOneObject(Protocol):
    """Staging whose bytes may be one object, whole, beside those of the final place."""

    async def only_object(self, upload_id: str, size_bytes: int) -> str | None:
        """Return the name of the object that has all bytes of an upload, and no others; None: there is none.

        Raises:
            BlobMissing: nothing is staged.
            BlobUnavailable: nobody knows.
        """
        ...


@runtime_checkable
class SupportsCopying(Protocol):
    """A final place that copies objects by their names, also from outside of its folder."""

    async def copy_from(self, source: str, upload_id: str) -> None:
        """Keep what an object holds under an ID, in place of what is there. This is no proof that it is there.

        Raises:
            BlobMissing: there is no such object.
            BlobUnavailable: the copy may be there, or not.
        """
        ...
