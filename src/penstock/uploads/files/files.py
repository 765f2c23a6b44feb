"""Files: what people find in a space, by paths. Decision 0020 has the rule of versions.

A file is not a thing of its own: it is whatever was released to its path, and of that the upload that was created last.
So which version counts does not depend on the order in which postprocessing ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from ...blobs.base import BlobUnavailable
from ..catalogue import paths
from ..catalogue.conditions import check_settled, check_target, movable, no_file, no_version
from ..catalogue.listing import number_of
from ..errors import ChecksumMismatch
from ..protocols.digests import as_metadata
from ..protocols.metadata import file_checksum
from ..protocols.proviso import NO_FILE
from ..upload import Upload
from .folders import Listing, listing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from ...blobs.base import BlobStore
    from ...db import Database
    from ..places import Place
    from ..quotas.quota import Ledger
    from ..receiving.receiver import Receiver
    from ..standing import Standing
    from .removal import Removal

log = structlog.get_logger(__name__)


class Versions(msgspec.Struct, frozen=True):
    """Some versions of a file, and where it goes on."""

    versions: list[Upload]
    """The present one first."""
    next: str | None
    """The cursor of the next ones; None: these were the last."""


class Files:
    """All of them. Every method may raise `DatabaseUnavailable`.

    Args:
        database: where the catalogue is.
        receiver: takes in what is copied.
        blobs: copies bytes.
        ledger: keeps the accounts of quotas.
        removal: takes away what is deleted.
    """

    def __init__(
        self,
        *,
        database: Database,
        receiver: Receiver,
        blobs: BlobStore,
        ledger: Ledger,
        removal: Removal,
    ) -> None:
        self._database = database
        self._receiver = receiver
        self._blobs = blobs
        self._ledger = ledger
        self._removal = removal

    async def list(
        self, space: str, *, prefix: str = "", delimiter: str = "", limit: int = 100, cursor: str | None = None
    ) -> Listing:
        """Return files whose paths begin with `prefix`; what comes after `delimiter` is put together to folders.

        `cursor` is a listing's `next`. However many files there are, a part costs as much as it has entries.
        """
        return await self._database.read(
            lambda connection: listing(connection, space, prefix, delimiter, after=cursor or "", limit=limit)
        )

    async def spaces(self, *, limit: int = 100, cursor: str | None = None) -> tuple[Sequence[str], str | None]:
        """Return names of spaces in which there are files, after that of `cursor`; and the cursor of the next ones.

        That is None after the last ones. There may be fewer than `limit` before it: spaces without files take time too.
        """
        return await self._database.read(lambda connection: paths.spaces(connection, after=cursor or "", most=limit))

    async def get(self, place: Place, *, version: str | None = None) -> Upload:
        """Return a file's present version, or a named one; or, when none was released yet, what is in processing.

        Raises:
            NotFound: none of these is there.
        """

        def look(connection: Connection) -> Upload | None:
            if version is not None:
                return paths.version(connection, place, version)
            present = paths.current(connection, place)
            return present or next(iter(paths.processing(connection, place, most=1)), None)

        found = await self._database.read(look)
        if found is None:
            raise no_file(place) if version is None else no_version(place, version)
        return found

    async def versions(self, place: Place, *, limit: int = 100, cursor: str | None = None) -> Versions:
        """Return versions of a file, the present one first. `cursor` is the `next` of those before.

        Raises:
            NotFound: there is no such file.
            InvalidRequest: the cursor is none of ours.
        """
        before = number_of(cursor) or paths.ANY
        found = await self._database.read(
            lambda connection: paths.versions(connection, place, before=before, most=limit + 1)
        )
        if not found and cursor is None:
            raise no_file(place)
        more = str(found[limit - 1].precedence) if len(found) > limit else None
        return Versions([one.upload for one in found[:limit]], more)

    async def settled(self, place: Place) -> Upload | None:
        """Return a file's present version where nothing is in processing; None: there is no such file.

        Raises:
            StillProcessing: something is, so nobody can say what will be there.
        """

        def look(connection: Connection) -> Upload | None:
            check_settled(connection, place)
            return paths.current(connection, place)

        return await self._database.read(look)

    async def move(self, source: Place, target: Place, *, overwrite: bool = True, match: str | None = None) -> bool:
        """Have a file, with all its versions, be at another place; return whether there was none before.

        What is there already becomes its older versions: nothing is lost. An upload to that place that was created
        before, and is released later, does not replace it.

        Args:
            source: where it is.
            target: where it is to be.
            overwrite: whether there may be a file already.
            match: the version that it must have; None: any.

        Raises:
            NotFound: there is no such file.
            StillProcessing: something is in processing at one of the two places.
            FileThere: there is a file, and it is not to be overwritten.
            OtherVersion: it has another version than `match`.
            QuotaExceeded: the space may not have as much.
        """

        def work(connection: Connection) -> bool:
            movable(connection, source, match)
            if source == target:
                return False
            new = check_target(connection, target, overwrite=overwrite)
            refusal = self._ledger.transfer(connection, source, target.space)
            if refusal is not None:
                raise refusal
            paths.carry(connection, source, target)
            return new

        new = await self._database.write(work)
        log.info("file_moved", space=source.space, path=source.path, to_space=target.space, to_path=target.path)
        return new

    async def copy(
        self,
        source: Place,
        target: Place,
        *,
        overwrite: bool = True,
        match: str | None = None,
        owner: str = "",
        trace_parent: str = "",
    ) -> Standing:
        """Upload a file's present version to another place, as a client would: all steps run; return where it stands.

        To its own place, it becomes a new version, which the steps run for. Where the disk can share what it holds, no
        byte is copied. What its uploader has said that it hashes to, the copy must hash to as well.

        Args:
            source: where it is.
            target: where the copy is to be.
            overwrite: whether there may be a file already, now and when the copy comes there.
            match: the version that it must have; None: any.
            owner: the user who copies it, and whom it counts for; empty: nobody is named.
            trace_parent: the request's; the copy is processed in its trace.

        Raises:
            NotFound, StillProcessing, FileThere, OtherVersion: as `move`.
            TooLarge, QuotaExceeded, TooMany, StorageFull: as any upload of the `owner`.
            BlobUnavailable: what is in the storage is not what was released; there is no copy.
        """

        def look(connection: Connection) -> Upload:
            found = movable(connection, source, match)
            check_target(connection, target, overwrite=overwrite)
            return found

        original = await self._database.read(look)
        checksum = file_checksum(original.metadata)
        begun = await self._receiver.create(
            None,
            path=target.path,
            space=target.space,
            size_bytes=original.size_bytes or 0,
            media_type=original.media_type,
            metadata=as_metadata((checksum,)) if checksum is not None else "",
            owner=owner,
            trace_parent=trace_parent,
            proviso=None if overwrite else NO_FILE,
        )
        if begun.complete:
            return begun
        try:
            return await self._fill(begun.upload.id, original.id)
        except BaseException:
            await self._receiver.terminate(begun.upload.id)
            raise

    async def _fill(self, upload_id: str, original_id: str) -> Standing:
        """Give an upload the bytes of another one, all of which it is to have."""
        damaged = BlobUnavailable(f"upload {original_id} is damaged in the storage: it is not what was released")
        await self._blobs.concatenate(upload_id, [original_id])
        try:
            copied = await self._receiver.status(upload_id)
        except ChecksumMismatch as error:
            raise damaged from error
        if not copied.complete:
            raise damaged
        return copied

    async def restore(self, place: Place, version: str) -> Upload:
        """Have an older version of a file be the present one again; return it. The others stay, in their order.

        An upload that was created before, and is released later, does not replace it.

        Raises:
            NotFound: there is no such version.
            StillProcessing: something is in processing there.
        """

        def work(connection: Connection) -> Upload:
            check_settled(connection, place)
            found = paths.version(connection, place, version)
            if found is None:
                raise no_version(place, version)
            paths.bring_up(connection, found, place)
            return found

        restored = await self._database.write(work)
        log.info("version_restored", space=place.space, path=place.path, upload=version)
        return restored

    async def delete(self, place: Place, *, version: str | None = None, match: str | None = None) -> None:
        """Delete a file with all its versions, and cancel what is in processing there; or delete one version.

        Raises:
            NotFound: there is nothing.
            OtherVersion: the file has another version than `match`.
        """
        if version is None:
            await self._removal.delete(place, match=match)
        else:
            await self._removal.delete_version(place, version, match=match)
