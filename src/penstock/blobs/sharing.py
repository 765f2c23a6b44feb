"""What a place for bytes has to be able to do so that several instances can use it at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from .base import Staging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from .base import Appender


@runtime_checkable
class SupportsFences(Protocol):
    """The ability of a store to tell apart those who believe that an upload is theirs to write.

    Somebody who was stopped for too long may go on writing to what it has open; behind a fence that does not count.
    """

    def append_confirmed(
        self, upload_id: str, offset: int, *, tentative: bool = False, confirm: Callable[[int], Awaitable[None]]
    ) -> AbstractAsyncContextManager[Appender]:
        """Do what `BlobStore.append` does.

        `confirm` is called with the offset once what is to be written is open, and before anything is done to it. What
        it raises comes from entering, and nothing was done.
        """
        ...

    async def fence(
        self, upload_id: str, kept_bytes: int | None, size_bytes: int | None, confirm: Callable[[], Awaitable[None]]
    ) -> None:
        """Have nothing count that an earlier writer writes from now on.

        Args:
            upload_id: the upload.
            kept_bytes: how much of it is certain, and counts at most, where what others write is seen late, and maybe
                with holes; None: all that is there. A store that shows to all what it has taken pays no heed to it.
            size_bytes: how much there is when all is there, to which nobody adds anything.
            confirm: called when it is known what would be fenced, and before that is done. What it raises is raised
                here, and nothing was done.

        Raises:
            BlobMissing: nothing is staged under this ID.
            BlobUnavailable: it was not done.
        """
        ...

    async def flushed(self, upload_id: str) -> int | None:
        """Force to disk what is staged, also while somebody writes; return how much that is at least.

        None: nobody has to know, since all see at once what the store has taken.

        Raises:
            BlobMissing: nothing is staged under this ID.
        """
        ...


class FencedStaging(Staging, SupportsFences, Protocol):
    """A place for bytes on their way in that several processes may use."""


@runtime_checkable
class SupportsIdentity(Protocol):
    """The ability of a store to say which installation's bytes it has."""

    async def identity(self, *, make: bool) -> str:
        """Return the name of the installation; empty: it has none, and none was to be made.

        Raises:
            BlobUnavailable: nobody knows.
        """
        ...
