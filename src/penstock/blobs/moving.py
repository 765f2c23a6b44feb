"""Stages bytes in one place and keeps them in another one after their release: the disk here, a bucket there.

The two may be as far apart as they like: bytes are read back from the final place, and compared with the staged ones,
before those may go. Decision 0013 has the steps, and what a death between any two of them leaves to be done again.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Protocol, Self

from ..errors import PenstockError
from .base import (
    Appender,
    BlobMissing,
    BlobStore,
    BlobUnavailable,
    FinalPlace,
    Staging,
    SupportsPath,
    not_as_released,
)
from .carrying import Carrier
from .handover import SupportsHandovers
from .inventory import Found, SupportsInventory
from .sharing import FencedStaging, SupportsFences

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from .links import Lending


class StagingInFiles(FencedStaging, SupportsPath, Protocol):
    """A store whose staged bytes can be opened by their path."""


class MovingBlobs(BlobStore, SupportsInventory, SupportsHandovers):
    """A store that releases from `staging` into `final`; see the module's description.

    What `staging` itself has released, before there was a final place, is read from there.
    """

    def __init__(self, staging: Staging, final: FinalPlace, lending: Lending | None = None) -> None:
        """Both are opened and closed with this store; what lies in `lending` is in its inventory, and nothing else."""
        self._staging = staging
        self._final = final
        self._lending = lending
        self._carrier = Carrier(staging, final)
        self.handovers = self._carrier.handovers
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._final)  # first: it says best what is wrong with a bucket
            await stack.enter_async_context(self._staging)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def create(self, upload_id: str, then: Callable[[], None] | None = None) -> None:
        """Begin an empty staged blob."""
        await self._staging.create(upload_id, then)

    async def length(self, upload_id: str) -> int:
        """Return how many bytes are staged, or else kept in the final place."""
        try:
            return await self._staging.length(upload_id)
        except BlobMissing:
            return await self._final.size(upload_id)

    def append(self, upload_id: str, offset: int, *, tentative: bool = False) -> AbstractAsyncContextManager[Appender]:
        """Open a staged blob for more bytes."""
        return self._staging.append(upload_id, offset, tentative=tentative)

    async def concatenate(self, upload_id: str, sources: Sequence[str]) -> int:
        """Put staged bytes together; those of sources that are not staged any more are fetched for it."""
        if all([await self._is_staged(source) for source in set(sources)]):
            return await self._staging.concatenate(upload_id, sources)
        for source in sources:
            await self.length(source)
        await self._staging.concatenate(upload_id, [])
        async with self._staging.append(upload_id, 0, tentative=True) as appender:
            for source in sources:
                async with aclosing(self.read(source)) as pieces:
                    async for piece in pieces:
                        await appender.write(piece)
        return appender.length_bytes

    async def seal(self, upload_id: str) -> int:
        """Force the staged bytes to disk."""
        return await self._staging.seal(upload_id)

    async def release(self, upload_id: str) -> None:
        """Copy the staged bytes into the final place, and make sure that they are there."""
        await self._carrier.release(upload_id)

    async def unstage(self, upload_id: str) -> None:
        """Remove the staged bytes of what the final place has."""
        try:
            size_bytes = await self._staging.length(upload_id)
        except BlobMissing:
            with suppress(BlobMissing):
                await self._final.size(upload_id)
                await self._staging.discard(upload_id)  # what a death has left of an earlier removal: none of it counts
            return
        try:
            kept_bytes = await self._final.size(upload_id)
        except BlobMissing:
            kept_bytes = -1
        if kept_bytes != size_bytes:
            raise BlobUnavailable(
                f"{self._final.name} does not have the {size_bytes} bytes of upload {upload_id}. They stay staged."
            )
        await self._staging.discard(upload_id)

    async def withdraw(self, upload_id: str, size_bytes: int) -> None:
        """Remove the copy in the final place, once all that it is a copy of is seen to be staged."""
        staged_bytes = await self._staging.length(upload_id)
        if staged_bytes != size_bytes:
            raise BlobUnavailable(
                f"upload {upload_id} has {size_bytes} bytes, but {staged_bytes} are staged: what {self._final.name} "
                "has of it may be the only copy, and stays."
            )
        await self._final.remove(upload_id)

    async def put_right(self, upload_id: str, size_bytes: int, *, dry_run: bool = False) -> None:
        """Remove the staged bytes of what the final place has; bring it there if it has not."""
        try:
            kept_bytes: int | None = await self._final.size(upload_id)
        except BlobMissing:
            kept_bytes = None
        if kept_bytes != size_bytes:
            staged_bytes = await self._staging.length(upload_id)
            if staged_bytes != size_bytes:
                raise not_as_released(upload_id, size_bytes, kept_bytes=kept_bytes, staged_bytes=staged_bytes)
        if not dry_run:
            if kept_bytes != size_bytes:
                await self.release(upload_id)
            await self._staging.discard(upload_id)

    async def discard(self, upload_id: str, *, only_staged: bool = False) -> None:
        """Remove the bytes here and there; the room on the disk is free also while the final place is away."""
        self._carrier.forget(upload_id)
        await self._staging.discard(upload_id, only_staged=only_staged)
        if not only_staged:
            await self._final.remove(upload_id)

    async def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from where they are; from the final place on, once they are there only."""
        try:
            async with aclosing(self._staging.read(upload_id, start=start, stop=stop)) as pieces:
                async for piece in pieces:
                    start += len(piece)
                    yield piece
            return
        except BlobMissing:
            if stop is not None and start >= stop:
                return
        async with aclosing(self._final.read(upload_id, start=start, stop=stop)) as pieces:
            async for piece in pieces:
                yield piece

    async def staged(self) -> list[str]:
        """Return the IDs of everything that is staged."""
        return await self._staging.staged()

    async def inventory(self) -> AsyncGenerator[Sequence[Found], None]:
        """Yield what lies here, in the final place, and where copies are lent; one that is away holds up no other."""
        failure: PenstockError | None = None
        stores: list[object] = [self._staging, self._final, self._lending]
        for store in stores:
            if isinstance(store, SupportsInventory):
                try:
                    async with aclosing(store.inventory()) as batches:
                        async for batch in batches:
                            yield batch
                except PenstockError as error:
                    failure = failure or error
        if failure is not None:
            raise failure

    async def remove_found(self, found: Found) -> bool:
        """Remove one thing from where it was found."""
        elsewhere = [self._final] if self._lending is None else [self._final, self._lending]
        store = next((place for place in elsewhere if place.name == found.place), self._staging)
        return isinstance(store, SupportsInventory) and await store.remove_found(found)

    async def free_bytes(self) -> int | None:
        """Return how much room there is for staged bytes: the final place is not full before they are released."""
        return await self._staging.free_bytes()

    async def _is_staged(self, upload_id: str) -> bool:
        try:
            await self._staging.length(upload_id)
        except BlobMissing:
            return False
        return True


class MovingFenced(MovingBlobs, SupportsFences):
    """The same, where several processes may stage."""

    def __init__(self, staging: FencedStaging, final: FinalPlace, lending: Lending | None = None) -> None:
        """Do what `MovingBlobs` does."""
        super().__init__(staging, final, lending)
        self._fenced = staging

    def append_confirmed(
        self, upload_id: str, offset: int, *, tentative: bool = False, confirm: Callable[[int], Awaitable[None]]
    ) -> AbstractAsyncContextManager[Appender]:
        """Open a staged blob for more bytes."""
        return self._fenced.append_confirmed(upload_id, offset, tentative=tentative, confirm=confirm)

    async def fence(
        self, upload_id: str, kept_bytes: int | None, size_bytes: int | None, confirm: Callable[[], Awaitable[None]]
    ) -> None:
        """Fence a staged blob."""
        await self._fenced.fence(upload_id, kept_bytes, size_bytes, confirm)

    async def flushed(self, upload_id: str) -> int | None:
        """Force a staged blob to disk."""
        return await self._fenced.flushed(upload_id)


class MovingFiles(MovingFenced, SupportsPath):
    """The same, where staged bytes are files."""

    def __init__(self, staging: StagingInFiles, final: FinalPlace, lending: Lending | None = None) -> None:
        """Do what `MovingBlobs` does."""
        super().__init__(staging, final, lending)
        self._files = staging

    def path(self, upload_id: str) -> Path:
        """Return where the bytes are staged."""
        return self._files.path(upload_id)
