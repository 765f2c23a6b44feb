"""Removes files and versions of them: what goes is decided in the transaction that takes it away, never before.

Then nobody can have moved it to another path, or brought it up to be the present version, by the time it goes. Its
bytes are freed afterwards; what that fails for, the sweeper frees.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from ...errors import PenstockError
from ..catalogue import paths
from ..catalogue.conditions import check_match, no_file, no_version
from ..catalogue.statements import PRECEDENCES
from ..file_errors import OtherVersion
from ..places import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from ...clock import Clock
    from ...db import Database
    from ..catalogue.catalogue import Catalogue
    from ..receiving.receiver import Receiver
    from ..upload import Upload

log = structlog.get_logger(__name__)

PRUNING: Final = timedelta(minutes=5)
"""How often versions are looked for that are too many: all files are read for that, 100,000 in 0.1 s."""
_AT_ONCE: Final = 100
"""Versions that go in one transaction, so that other writes do not wait long for its end."""


class Removal:
    """Takes files away. Every method may raise `DatabaseUnavailable`.

    Args:
        database: where the catalogue is.
        catalogue: knows all uploads.
        receiver: frees their bytes.
        clock: waits.
        kept_versions: how many versions of a file are kept, the present one included; None: all.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        receiver: Receiver,
        clock: Clock,
        kept_versions: int | None = None,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._receiver = receiver
        self._clock = clock
        self._kept = kept_versions

    async def delete(self, place: Place, *, match: str | None = None) -> None:
        """Delete a file with all its versions, and cancel what is in processing there; not what comes later.

        Up to 100 go at once. Of more, the oldest go first: whatever interrupts this brings none of them back.

        Raises:
            NotFound: there is nothing.
            OtherVersion: the file has another version than `match`, if that is not None.
        """
        until = await self._database.read(lambda connection: paths.extent(connection, place))
        # An upload that ends meanwhile is as old as its beginning; what is restored or moved here comes on top.
        upto = max(until.precedence, until.number * PRECEDENCES)

        def choose(connection: Connection) -> Sequence[Upload]:
            coming = paths.processing(connection, place, most=_AT_ONCE, upto=until.number)
            found = paths.oldest(connection, place, most=_AT_ONCE - len(coming), upto=upto)
            return [*coming, *found]

        def choose_first(connection: Connection) -> Sequence[Upload]:
            check_match(paths.current(connection, place), place, match)
            return choose(connection)

        gone = await self._take(choose_first)
        if not gone:
            raise no_file(place)
        while len(gone) == _AT_ONCE:
            gone = await self._take(choose)

    async def delete_version(self, place: Place, version: str, *, match: str | None) -> None:
        """Delete one version of a file, or cancel what is in processing and would be one.

        Raises:
            NotFound: there is no such version.
            OtherVersion: `match` is not None, and another one.
        """
        if match not in (None, version):
            raise OtherVersion(f"If-Match names another version of {place} than {version[:64]}, which is to go.")

        def choose(connection: Connection) -> Sequence[Upload]:
            found = paths.version(connection, place, version)
            return [] if found is None else [found]

        if not await self._take(choose):
            raise no_version(place, version)

    async def run(self) -> None:
        """Remove versions that are too many, until cancelled, whatever goes wrong."""
        while self._kept is not None:
            try:
                await self.prune()
            except PenstockError as error:
                log.warning("old_versions_left", error=str(error))
            except Exception:
                log.exception("old_versions_left")  # nothing that is tidied up is worth the end of the server
            await self._clock.sleep(PRUNING)

    async def prune(self) -> int:
        """Remove the oldest versions of all files that have too many; return how many were removed."""
        if self._kept is None:
            return 0
        kept, removed = self._kept, 0
        after: Place | None = Place("", "")
        while after is not None:
            crowded, after = await self._crowded(kept, after)
            for place in crowded:
                removed += await self._prune(place, kept)
        return removed

    async def _crowded(self, kept: int, after: Place) -> tuple[Sequence[Place], Place | None]:
        return await self._database.read(
            lambda connection: paths.crowded(connection, kept=kept, after=after, most=_AT_ONCE)
        )

    async def _prune(self, place: Place, kept: int) -> int:
        removed = 0

        def choose(connection: Connection) -> Sequence[Upload]:
            return paths.surplus(connection, place, kept=kept, most=_AT_ONCE)

        while gone := await self._take(choose):
            removed += len(gone)
        if removed:
            log.info("old_versions_removed", space=place.space, path=place.path, versions=removed)
        return removed

    async def _take(self, choose: Callable[[Connection], Sequence[Upload]]) -> Sequence[Upload]:
        """Take away what is chosen, and free its bytes as far as that works now; return it."""
        gone = await self._catalogue.withdraw(choose)
        for upload in gone:
            try:
                await self._receiver.terminate(upload.id)
            except PenstockError as error:  # it was forgotten meanwhile, or the sweeper does it
                log.warning("removed_bytes_left_for_later", upload=upload.id, error=str(error))
        return gone
