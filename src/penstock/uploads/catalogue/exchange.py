"""Puts one state of an upload in the place of another: all that belongs to it, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ..upload import Phase, Upload, counted_bytes
from . import journal, paths, statements
from .conditions import place_of, unmet
from .journal import Details, Happening, Kind
from .quarantine import NOBODY, log_change
from .rows import changing_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from ...clock import Clock
    from ...errors import PenstockError
    from ..quotas.quota import Ledger
    from .quarantine import Doer

_DECIDED: Final = (Phase.RELEASED, Phase.REJECTED, Phase.DELETED)
_ON_THE_WAY: Final = (Phase.PROCESSING, Phase.RELEASED)


class Exchange:
    """Does it.

    Args:
        clock: dates what happens.
        ledger: keeps the accounts of quotas.
        guard: as the catalogue's; None: nobody shares the database.
    """

    def __init__(self, clock: Clock, ledger: Ledger, guard: Callable[[Connection, str], None] | None) -> None:
        self._clock = clock
        self._ledger = ledger
        self._guard = guard

    def work(
        self,
        before: Upload,
        after: Upload,
        *,
        cause: str = "",
        preceded_by: Sequence[Happening] = (),
        doer: Doer = NOBODY,
    ) -> Callable[[Connection], bool | PenstockError]:
        """Return what `Catalogue.change` does in its transaction; an error is returned when nothing was changed.

        Raises:
            ValueError: neither phase nor run would change.
        """
        if (before.phase, before.run) == (after.phase, after.run):
            raise ValueError(f"upload {before.id}: neither phase nor run would change")
        values = {
            **changing_values(after),
            "cause": None if after.run == before.run else cause,
            "discard_pending": before.phase.holds_bytes and not after.phase.holds_bytes,
            "counted_bytes": counted_bytes(after),
            "upload": before.id,
            "in_phase": before.phase.value,
            "in_run": before.run,
        }
        earlier, in_between = [*preceded_by], before.phase
        if before.phase is Phase.RECEIVING and after.phase is Phase.RELEASED:  # in one go
            in_between = Phase.PROCESSING
            earlier.append(self.happening(msgspec.structs.replace(after, phase=in_between, outcome=""), Kind.RECEIVED))
        if after.phase in _DECIDED:
            earlier.append(self.happening(after, Kind.DECIDED))
        happening = self.happening(after, journal.kind_of(before.phase, after.phase))
        completes = before.phase is Phase.RECEIVING and after.phase in _ON_THE_WAY
        guard = self._guard if completes else None
        is_bound = before.proviso is not None and (completes or after.phase is Phase.RELEASED)

        def work(connection: Connection) -> bool | PenstockError:
            if guard is not None:
                guard(connection, before.id)
            if is_bound and (objection := unmet(connection, before)) is not None:
                return objection
            row = self._ledger.before(connection, before, after)
            if statements.CHANGE.execute(connection, values) != 1:
                return False
            if is_bound and after.phase is Phase.RELEASED:
                _replace(connection, after)
            if row is not None:
                self._ledger.move(connection, row, after)
            if after.parts and not counted_bytes(after):
                self._ledger.give_back(connection, after.id)
            elif after.parts and before.phase is Phase.REJECTED:
                self._ledger.lend_again(connection, after)
            journal.append(connection, [*((one, in_between) for one in earlier), (happening, after.phase)])
            log_change(connection, before, after, happening.at, doer)
            return True

        return work

    def happening(self, upload: Upload, kind: Kind) -> Happening:
        """Return what is written down of an upload that has come into its present state."""
        return Happening(
            key=f"{upload.run}:{kind}",
            upload_id=upload.id,
            at=self._clock.now(),
            kind=kind,
            details=Details(filename=upload.filename, outcome=upload.outcome, reason=upload.reason),
        )


def _replace(connection: Connection, released: Upload) -> None:
    """Have an upload that names the version which it replaces come before that one, which may have been restored."""
    for version in paths.versions(connection, place_of(released), most=2):
        if released.proviso is not None and released.proviso.names(version.upload.id):
            paths.put_over(connection, released, version.precedence)
