"""Who has how much, for those who ask; and the accounts made anew, at each start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...db import Database
    from .accounts import Usage
    from .quota import Ledger

log = structlog.get_logger(__name__)


class Usages:
    """Tells. Every method may raise `DatabaseUnavailable`.

    Args:
        database: open while this is used.
        ledger: keeps the accounts of quotas.
    """

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    async def count_anew(self) -> None:
        """Make the accounts of quotas anew from the uploads: to be called at each start."""
        wrong = await self._database.write(self._ledger.make_anew)
        if wrong:
            log.info("accounts_made_anew", changed=wrong)

    async def of_all(self) -> Sequence[Usage]:
        """Return what every space and user has, and may have; summed up from all uploads."""
        return await self._database.read(self._ledger.of_all)

    async def of_named(self) -> Sequence[Usage]:
        """Return what the server has, and those spaces and users that have limits of their own; from the accounts."""
        named = self._ledger.allowances.named()
        return await self._database.read(lambda connection: self._ledger.of(connection, named)) if named else []

    async def of(self, space: str | None, owner: str | None) -> Sequence[Usage]:
        """Return what the server, a space and a user have, as far as accounts are kept; None: of no space, or user."""
        subjects = self._ledger.subjects(space, owner)
        return await self._database.read(lambda connection: self._ledger.of(connection, subjects)) if subjects else []
