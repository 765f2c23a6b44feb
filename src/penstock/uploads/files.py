"""Files: what people find in a space, by paths. Decision 0020 has the rule of versions.

A file is not a thing of its own: it is whatever was released to its path, and of that the upload that was created last.
So which version counts does not depend on the order in which postprocessing ends.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ..errors import NotFound, PenstockError
from . import paths
from .file_errors import FileThere, OtherVersion, StillProcessing
from .metadata import checked_space
from .names import checked_path
from .upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from ..blobs.base import BlobStore
    from ..clock import Clock
    from ..db import Database
    from .catalogue import Catalogue
    from .quota import Ledger
    from .receiver import Receiver
    from .standing import Standing

log = structlog.get_logger(__name__)

PRUNING: Final = timedelta(minutes=5)
"""How often versions are looked for that are too many: all files are read for that, 100,000 in 0.1 s."""
_CROWDED_AT_ONCE: Final = 100


class Listing(msgspec.Struct, frozen=True):
    """A part of what lies in a folder, and where it goes on."""

    files: list[Upload]
    """In the order of their paths."""
    folders: list[str]
    """Their paths, each with the delimiter at its end."""
    next: str | None
    """The cursor of the next part; None: this was the last one."""


class Place(msgspec.Struct, frozen=True):
    """Where a file is."""

    space: str
    path: str

    @classmethod
    def of(cls, space: str, path: str) -> Place:
        """Return a place that there may be.

        Raises:
            UnsafeName, BadHeader: no file can be there.
        """
        return cls(checked_space(space), checked_path(path))

    def __str__(self) -> str:
        return f"{self.path[:80]!r} in {self.space[:80]!r}"


class Files:
    """All of them. Every method may raise `DatabaseUnavailable`.

    Args:
        database: where the catalogue is.
        catalogue: knows all uploads.
        receiver: removes what is to be removed, and takes in what is copied.
        blobs: copies bytes.
        ledger: keeps the accounts of quotas.
        clock: waits.
        kept_versions: how many versions of a file are kept, the present one included; None: all.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        receiver: Receiver,
        blobs: BlobStore,
        ledger: Ledger,
        clock: Clock,
        kept_versions: int | None = None,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._receiver = receiver
        self._blobs = blobs
        self._ledger = ledger
        self._clock = clock
        self._kept = kept_versions

    async def list(
        self, space: str, *, prefix: str = "", delimiter: str = "", limit: int = 100, cursor: str | None = None
    ) -> Listing:
        """Return files whose paths begin with `prefix`; what comes after `delimiter` is put together to folders.

        `cursor` is a listing's `next`. However many files there are, a part costs as much as it has entries.
        """
        return await self._database.read(
            lambda connection: _listing(connection, space, prefix, delimiter, after=cursor or "", limit=limit)
        )

    async def spaces(self, *, limit: int = 100, cursor: str | None = None) -> Sequence[str]:
        """Return the names of spaces in which there are files, after that of `cursor`."""
        return await self._database.read(lambda connection: paths.spaces(connection, after=cursor or "", most=limit))

    async def get(self, place: Place) -> Upload:
        """Return a file's present version; or, when none was released yet, the upload that is in processing.

        Raises:
            NotFound: neither is there.
        """
        present, coming = await self._database.read(
            lambda connection: (
                paths.current(connection, place.space, place.path),
                paths.processing(connection, place.space, place.path),
            )
        )
        if present is None and not coming:
            raise NotFound(f"there is no file {place}. Ask for the list of what there is.")
        return coming[0] if present is None else present

    async def versions(self, place: Place) -> Sequence[Upload]:
        """Return the versions of a file, the present one first.

        Raises:
            NotFound: there is no such file.
        """
        found = await self._database.read(lambda connection: paths.versions(connection, place.space, place.path))
        if not found:
            raise NotFound(f"there is no file {place}. Ask for the list of what there is.")
        return found

    async def version(self, place: Place, version: str) -> Upload:
        """Return one version of a file.

        Raises:
            NotFound: there is no such version.
        """
        upload = await self._catalogue.get(version)
        there = upload is not None and upload.phase in (Phase.RELEASED, Phase.PROCESSING)
        if upload is None or not there or (upload.space, upload.file_path) != (place.space, place.path):
            raise _no_version(place, version)
        return upload

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
            moved = _movable(connection, source, match)
            new = _check_target(connection, target, overwrite=overwrite or source == target)
            for version in reversed(moved):
                precedence = paths.on_top(connection, target.space, target.path)
                refusal = self._ledger.transfer(connection, version, target.space)
                if refusal is not None:
                    raise refusal
                paths.place(connection, version, space=target.space, path=target.path, precedence=precedence)
            return new

        new = await self._database.write(work)
        log.info("file_moved", space=source.space, path=source.path, to_space=target.space, to_path=target.path)
        return new

    async def copy(self, source: Place, target: Place, *, overwrite: bool = True, match: str | None = None) -> Standing:
        """Upload a file's present version to another place, as a client would: all steps run; return where it stands.

        Where the disk can share what it holds, no byte is copied.

        Raises:
            NotFound, StillProcessing, FileThere, OtherVersion: as `move`.
            StorageFull: there is no room for it.
        """

        def look(connection: Connection) -> Upload:
            found = _movable(connection, source, match)[0]
            _check_target(connection, target, overwrite=overwrite)
            return found

        original = await self._database.read(look)
        begun = await self._receiver.create(
            None,
            path=target.path,
            space=target.space,
            size_bytes=original.size_bytes or 0,
            media_type=original.media_type,
            owner=original.owner,
        )
        if begun.complete:
            return begun
        try:
            await self._blobs.concatenate(begun.upload.id, [original.id])
            return await self._receiver.status(begun.upload.id)
        except BaseException:
            await self._receiver.terminate(begun.upload.id)
            raise

    async def restore(self, place: Place, version: str) -> Upload:
        """Have an older version of a file be the present one again; return it. The others stay, in their order.

        An upload that was created before, and is released later, does not replace it.

        Raises:
            NotFound: there is no such version.
            StillProcessing: something is in processing there.
        """

        def work(connection: Connection) -> Upload:
            _check_not_processing(connection, place)
            found = _version(paths.versions(connection, place.space, place.path), place, version)
            precedence = paths.on_top(connection, place.space, place.path)
            paths.place(connection, found, space=place.space, path=place.path, precedence=precedence)
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

        def look(connection: Connection) -> list[Upload]:
            found = paths.versions(connection, place.space, place.path, most=paths.ALL)
            coming = paths.processing(connection, place.space, place.path)
            if version is not None:
                return [_version([*found, *coming], place, version)]
            _check_match(found, place, match)
            return [*coming, *found]

        found = await self._database.read(look)
        if not found:
            raise NotFound(f"there is no file {place}. Ask for the list of what there is.")
        for upload in reversed(found):  # the oldest first: whatever interrupts this brings none of them back
            await self._receiver.terminate(upload.id)

    async def run(self) -> None:
        """Remove versions that are too many, until cancelled, whatever goes wrong."""
        while self._kept is not None:
            try:
                while await self.prune():
                    pass
            except PenstockError as error:
                log.warning("old_versions_left", error=str(error))
            except Exception:
                log.exception("old_versions_left")  # nothing that is tidied up is worth the end of the server
            await self._clock.sleep(PRUNING)

    async def prune(self) -> int:
        """Remove the oldest versions of some files that have too many; return how many were removed."""
        if self._kept is None:
            return 0
        kept, removed = self._kept, 0
        crowded = await self._database.read(
            lambda connection: paths.crowded(connection, kept=kept, most=_CROWDED_AT_ONCE)
        )
        for space, path in crowded:
            for version in reversed((await self.versions(Place(space, path)))[kept:]):
                await self._receiver.terminate(version.id)
                removed += 1
                log.info("old_version_removed", space=space, path=path, upload=version.id)
        return removed


def _listing(connection: Connection, space: str, prefix: str, delimiter: str, *, after: str, limit: int) -> Listing:
    files: list[Upload] = []
    folders: list[str] = []
    is_after_folder = False
    while (missing := limit - len(files) - len(folders)) > 0:
        most = 1 if is_after_folder else missing  # after a folder there mostly comes another one
        is_after_folder = False
        found = paths.listed(connection, space, prefix, after=after, most=most)
        for upload in found:
            name, found_delimiter, _ = (
                upload.file_path.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
            )
            if found_delimiter:
                folders.append(f"{prefix}{name}{delimiter}")
                after = folders[-1] + paths.LAST  # all that lies in it is passed over, not read
                is_after_folder = True
                break
            files.append(upload)
            after = upload.file_path
        else:
            if len(found) < most:
                return Listing(files, folders, None)
    return Listing(files, folders, after)


def _movable(connection: Connection, source: Place, match: str | None) -> list[Upload]:
    _check_not_processing(connection, source)
    found = paths.versions(connection, source.space, source.path, most=paths.ALL)
    if not found:
        raise NotFound(f"there is no file {source}. Ask for the list of what there is.")
    _check_match(found, source, match)
    return found


def _check_target(connection: Connection, target: Place, *, overwrite: bool) -> bool:
    """Make sure that a file may come to a place; return whether there is none yet."""
    _check_not_processing(connection, target)
    there = paths.current(connection, target.space, target.path)
    if there is not None and not overwrite:
        raise FileThere(f"there is a file {target} already. Choose another path, or allow to overwrite it.")
    return there is None


def _version(found: Sequence[Upload], place: Place, version: str) -> Upload:
    for upload in found:
        if upload.id == version:
            return upload
    raise _no_version(place, version)


def _no_version(place: Place, version: str) -> NotFound:
    return NotFound(f"the file {place} has no version {version[:64]!r}. Ask for the list of its versions.")


def _check_match(found: Sequence[Upload], place: Place, match: str | None) -> None:
    if match is not None and (not found or found[0].id != match):
        present = found[0].id if found else "none"
        raise OtherVersion(f"the file {place} is another one by now: its version is {present}.")


def _check_not_processing(connection: Connection, place: Place) -> None:
    for upload in paths.processing(connection, place.space, place.path):
        raise StillProcessing.of(upload)
