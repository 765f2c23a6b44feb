"""The ports for bytes: where an upload's body is kept, while it is held back and after its release.

An upload's bytes are *staged* from creation on and *released* exactly once; `discard` removes them wherever they are.
A blob knows nothing of sessions, steps or names: its key is the upload ID.

`BlobStore` is what the rest of the product works with. `Staging` and `FinalPlace` are its halves, for bytes on the way
in and for released ones, such as in a bucket; `blobs.moving` makes a `BlobStore` of the two (decisions 0013 and 0018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from ..errors import PenstockError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from .sharing import FencedStaging


class BlobMissing(PenstockError):
    """No bytes are kept under this upload ID, neither staged nor released."""

    code = "blob-missing"


class OffsetConflict(PenstockError):
    """The append would not begin where the staged bytes end; nothing was written."""

    code = "offset-conflict"

    def __init__(self, upload_id: str, *, offset: int, length_bytes: int) -> None:
        super().__init__(f"upload {upload_id} holds {length_bytes} bytes; an append at offset {offset} does not fit")
        self.upload_id = upload_id
        self.offset = offset
        self.length_bytes = length_bytes


class StorageFull(Unavailable):
    """There is no room for the bytes. What was written before stays valid."""

    code = "storage-full"
    facts: Mapping[str, object] = {"resource": "storage"}


class BlobUnavailable(Unavailable):
    """The storage did not answer or refused; it may work later."""

    code = "blob-unavailable"


def not_as_released(upload_id: str, size_bytes: int, *, kept_bytes: int | None, staged_bytes: int) -> BlobUnavailable:
    """Return the error for a blob of which there are other bytes than were released; None: none, where they belong."""
    kept = "none" if kept_bytes is None else kept_bytes
    return BlobUnavailable(
        f"upload {upload_id} was released with {size_bytes} bytes, but {staged_bytes} are staged, and {kept} are in "
        "the final place. Both are left alone: put the right ones back, or delete the upload."
    )


class Appender(Protocol):
    """Writes the body of one request to the end of a staged blob."""

    @property
    def length_bytes(self) -> int:
        """Where the blob ends: inside the context with what is still buffered, afterwards as it really is."""
        ...

    @property
    def written_bytes(self) -> int:
        """Where the blob would end if this process died now: without what is still buffered."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Add `chunk`; it may be buffered, in a bounded amount, until the context closes.

        An error may belong to an earlier chunk, and may come as late as the end of the context.

        Raises:
            StorageFull: the part that fitted is kept.
            BlobUnavailable: the storage failed; what was written before is kept.
        """
        ...

    async def seal(self) -> None:
        """Do what `BlobStore.seal` does, for the blob with everything written so far. No write may follow.

        Raises:
            StorageFull: the part that fitted is kept.
            BlobUnavailable: the bytes may not be on disk. `length` tells from where they have to be sent again.
        """
        ...

    async def rollback(self) -> None:
        """Forget everything written in this context: the blob ends again where the context began."""
        ...


class Staging(Protocol):
    """Keeps the bytes of uploads on their way in. All methods may be called again after a crash in the middle of them.

    A store that also keeps what is released means both when it says *staged* here, but for `append` and `staged`.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def create(self, upload_id: str, then: Callable[[], None] | None = None) -> None:
        """Begin an empty staged blob. Does nothing when it exists already.

        Once it is there `then` is called in a thread, where it may wait for the disk, and for it this waits.
        """
        ...

    async def length(self, upload_id: str) -> int:
        """Return how many bytes of a staged or released blob are there; for a staged one this is the tus offset.

        Raises:
            BlobMissing: nothing is kept under this ID.
        """
        ...

    def append(self, upload_id: str, offset: int, *, tentative: bool = False) -> AbstractAsyncContextManager[Appender]:
        """Open a staged blob for the bytes from `offset` on. One context at a time for each blob.

        However the context is left, by its end, an error or a cancellation, all bytes written so far are handed to
        the operating system and count for `length`, unless `rollback` was called. When `tentative`, they count only
        if the context is left without an error: a cancellation and a crash in the middle leave no trace of them.

        The errors below may come from entering, from the first `write`, or from leaving; nothing was written then.

        Raises:
            BlobMissing: nothing is staged under this ID.
            OffsetConflict: the blob does not end at `offset`.
        """
        ...

    async def concatenate(self, upload_id: str, sources: Sequence[str]) -> int:
        """Replace the staged bytes by those of other blobs, one after the other; return how many they are.

        The sources, staged or released, stay as they are; nobody may append to them meanwhile. The same one may come
        more than once. All or nothing: after an error, a cancellation or a crash in the middle, nothing counts. When
        this returns, the bytes are not forced to disk: `seal` does that.

        Raises:
            BlobMissing: nothing is staged under this ID, or nothing is kept under that of a source.
            StorageFull: there is no room for all of them.
            BlobUnavailable: the storage failed.
        """
        ...

    async def seal(self, upload_id: str) -> int:
        """Force the staged bytes and their folder entry to disk; return their number.

        When this returns, the bytes survive a power failure. Nobody may be told that they are there before.

        Raises:
            BlobMissing: nothing is staged under this ID.
            BlobUnavailable: the bytes may not be on disk. `length` tells from where they have to be sent again.
        """
        ...

    async def discard(self, upload_id: str, *, only_staged: bool = False) -> None:
        """Remove the bytes, staged or (unless `only_staged`) released. Does nothing when there are none."""
        ...

    def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `stop` (None: to the end), in bounded pieces.

        Close it (`contextlib.aclosing`) when you may stop before its end.

        Raises:
            BlobMissing: nothing is kept under this ID.
        """
        ...

    async def staged(self) -> list[str]:
        """Return the IDs of everything that is staged, for reconciliation."""
        ...

    async def free_bytes(self) -> int | None:
        """Return how many bytes may still be written, or None when the storage cannot tell."""
        ...


class BlobStore(Staging, Protocol):
    """Keeps the bytes of uploads from their creation on, also after their release."""

    async def release(self, upload_id: str) -> None:
        """Put the staged bytes into their final place, durably. Does nothing when they are there already.

        A store that has to copy them for that keeps the staged ones until `unstage`.

        Raises:
            BlobMissing: nothing is kept under this ID.
            BlobUnavailable: they could not be put there, or not as they are; they stay staged.
        """
        ...

    async def unstage(self, upload_id: str) -> None:
        """Remove what is still staged of a released blob, once nobody needs it there. Does nothing when nothing is.

        Raises:
            BlobUnavailable: the final place does not have all of it, or cannot tell; nothing was removed.
        """
        ...

    async def withdraw(self, upload_id: str, size_bytes: int) -> None:
        """Remove what `release` has copied of a blob that is not to be released after all; it stays staged.

        Does nothing when nothing was copied, nor where a release moves bytes: then they are the only ones.

        Args:
            upload_id: the blob. Nobody may be releasing it meanwhile.
            size_bytes: how many bytes it has.

        Raises:
            BlobMissing: nothing is staged, so nothing was removed.
            BlobUnavailable: other bytes are staged, and nothing was removed; or the copy may still be there.
        """
        ...

    async def put_right(self, upload_id: str, size_bytes: int, *, dry_run: bool = False) -> None:
        """Have a blob that was released be in its final place, and nowhere else.

        If there are as many bytes there, these are they: they were compared when it was released, and only what is
        still staged of them is removed, whatever it is. If not, and as many are staged, it is released once more: a
        power failure may have undone that.

        Args:
            upload_id: the blob.
            size_bytes: with how many bytes it was released.
            dry_run: only look whether that can be done.

        Raises:
            BlobMissing: nothing is kept under this ID.
            BlobUnavailable: there are as many in neither place, or nobody can tell; nothing was removed.
        """
        ...


class FinalPlace(Protocol):
    """Keeps bytes from their release on. All methods may be called again after a crash in the middle of them."""

    name: str
    """What it is and where, for messages: nothing secret."""

    async def __aenter__(self) -> Self:
        """Try whether bytes can be written, read and removed.

        Raises:
            ConfigurationError: they cannot.
        """
        ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def put(
        self,
        upload_id: str,
        pieces: AsyncGenerator[bytes, None],
        *,
        size_bytes: int,
        sha256: str,
        arrived: Callable[[int], None] | None = None,
    ) -> None:
        """Keep bytes under an ID, in place of what is there. Nobody sees them before they are all there.

        That this returns is not a proof that they are: read them back. However it ends, `pieces` is not read any more.
        `arrived` is told now and then how many bytes the service has said to have, at least.

        Raises:
            BlobUnavailable: they are not there, or nobody knows.
        """
        ...

    async def size(self, upload_id: str) -> int:
        """Return how many bytes are kept under an ID.

        Raises:
            BlobMissing: nothing is.
        """
        ...

    def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield bytes as `BlobStore.read` does."""
        ...

    async def remove(self, upload_id: str) -> None:
        """Remove what is kept under an ID. Does nothing when nothing is."""
        ...

    async def check(self) -> None:
        """Ask it for a sign of life, which leaves nothing behind.

        Raises:
            BlobUnavailable: it gives none.
        """
        ...


@runtime_checkable
class SupportsStaging(Protocol):
    """The ability of a final place to have bytes staged beside it, with the same access."""

    def staging(self, *, shared: bool = False) -> FencedStaging:
        """Return the store for that, not opened yet; `shared`: other instances use it.

        Opening it raises `ConfigurationError` if it cannot be `shared`.
        """
        ...


@runtime_checkable
class SupportsSealedRelease(Protocol):
    """The ability of an appender to have its blob released with its last bytes, in one go."""

    async def seal_and_release(self, then: Callable[[], None] | None = None) -> bool:
        """Do what `Appender.seal` does, and then what `BlobStore.release` does; return whether that was done as well.

        If it was, `then` is called, in the very thread that has done it, and may wait for the disk.

        Raises:
            StorageFull, BlobUnavailable: as `Appender.seal`.
        """
        ...


@runtime_checkable
class SupportsPath(Protocol):
    """The ability of a local store: its blobs are files that other parts on this machine may open."""

    def path(self, upload_id: str) -> Path:
        """Return where the bytes are right now.

        Raises:
            BlobMissing: nothing is kept under this ID.
        """
        ...
