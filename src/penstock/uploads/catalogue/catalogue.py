"""The catalogue: every upload from its creation until it is forgotten, and the one place where its phase changes.

A change takes effect only on the phase and run that were read, together with its entry in the feed, in one
transaction. What the catalogue says happened to an upload is what readers of the feed are told, each thing once.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy.exc import IntegrityError

from ...db.instants import to_microseconds
from ...errors import PenstockError
from ..quotas.accounts import Account
from ..quotas.quota import Ledger
from ..upload import Phase, Upload, counted_bytes
from . import journal, statements
from .conditions import unmet
from .exchange import Exchange
from .journal import Happening, Kind
from .lookups import Lookups
from .quarantine import NOBODY
from .rows import changing_values, final_key, fixed_values, scan_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from ...clock import Clock
    from ...db import Database
    from ...db.database import First
    from ..upload import ScanMark
    from .feed import Feed
    from .quarantine import Doer


_STANDS_STILL: Final = timedelta(days=1)
"""For how long who is about to remove something may be stopped, and do it then."""


class UploadExists(PenstockError):
    """There is an upload of this ID already; nothing was changed."""

    code = "upload-exists"


class Catalogue(Lookups):
    """All uploads. Every method may raise `DatabaseUnavailable`; a change that did has not happened.

    Args:
        database: open while this is used.
        feed: is told when there is something new to read.
        clock: dates the entries of the feed.
        ledger: keeps the accounts of quotas; None: there are none.
        guard: where several instances share the database: called in the transaction that is to put an upload of an ID
            into processing which was coming in. It raises what is raised then, if that is not for this one to do.
    """

    def __init__(
        self,
        database: Database,
        feed: Feed,
        clock: Clock,
        ledger: Ledger | None = None,
        guard: Callable[[Connection, str], None] | None = None,
    ) -> None:
        super().__init__(database)
        self._ledger = ledger or Ledger()
        self._exchange = Exchange(clock, self._ledger, guard)
        self._feed = feed
        self._clock = clock

    async def add(self, upload: Upload, *, first: First | None = None) -> None:
        """Enter a new upload; what comes `first` is done before, as `Database.write` has it.

        Raises:
            UploadExists: one of this ID is there; nothing was changed.
            QuotaExceeded, TooMany: it is over what its space or user may have; nothing was changed.
        """
        values = {
            **fixed_values(upload),
            **changing_values(upload),
            **scan_values(upload.scan),
            "final_key": final_key(upload),
            "run_cause": "",
            "precedence": 0,
            "discard_pending": False,
            "counted_bytes": counted_bytes(upload),
            "counted_in": "",
        }
        created = self._exchange.happening(upload, Kind.CREATED)

        def work(connection: Connection) -> PenstockError | None:
            refusal = self._ledger.enter(connection, upload)
            if refusal is None:
                statements.ADD.execute(connection, values)
                journal.append(connection, [(created, upload.phase)])
                if upload.parts:
                    self._ledger.lend(connection, upload)
            return refusal

        try:
            refusal = await self._database.write(work, first=first)
        except IntegrityError as error:
            raise UploadExists(f"there is an upload {upload.id} already") from error
        if refusal is not None:
            raise refusal
        self._feed.wake()

    async def check(self, upload: Upload) -> None:
        """Look whether an upload could be entered now, as far as quotas go: `add` decides.

        Raises:
            QuotaExceeded, TooMany: as `add`.
        """
        if self._ledger.allowances.any_counted:
            wanted = Account(reserved_bytes=counted_bytes(upload), unfinished=1)
            refusal = await self._database.find(
                lambda connection: self._ledger.check(connection, upload.space, upload.owner, wanted)
            )
            if refusal is not None:
                raise refusal

    async def change(
        self,
        before: Upload,
        after: Upload,
        *,
        cause: str = "",
        preceded_by: Sequence[Happening] = (),
        doer: Doer = NOBODY,
        first: First | None = None,
    ) -> bool:
        """Put `after` in the place of `before`; return False if somebody was faster, and nothing was changed.

        What counts is that phase and run are still those of `before`. When this returns True, the change and its
        entries in the feed are on disk. From a change on that gives the bytes up (deleted, cancelled, expired) the
        upload is among those `to_discard`.

        Args:
            before: as it was read.
            after: the same upload, in another phase or run. Its scan is not written: see `note`.
            cause: the event that asked for a new run, to be recognised by `caused_by`.
            preceded_by: what must have happened before and is written down now, if it was not yet.
            doer: who does it, for the log of the quarantine.
            first: done before, as `Database.write` has it: if it fails nothing is changed, and its error is raised.

        Raises:
            FileThere, OtherVersion: it is to be processed, or to be the file at its path, and its proviso does not
                hold; nothing was changed.
        """
        work = self._exchange.work(before, after, cause=cause, preceded_by=preceded_by, doer=doer)
        changed = _unless_refused(await self._database.write(work, first=first))
        if changed:
            self._feed.wake()
        return changed

    async def check_proviso(self, upload: Upload) -> None:
        """Look whether an upload could become the file at its path now: `change` decides.

        Raises:
            FileThere, OtherVersion: its proviso does not hold.
        """
        objection = await self._database.read(lambda connection: unmet(connection, upload))
        if objection is not None:
            raise objection

    async def withdraw(self, choose: Callable[[Connection], Sequence[Upload]]) -> Sequence[Upload]:
        """Cancel what is chosen in the very transaction that does it; return these uploads as they are now.

        So why they were chosen is still true of them: nobody can move, restore or end one in between. They are among
        those `to_discard`, as after `change`. What `choose` raises is raised here, and nothing was changed.
        """
        now = self._clock.now()

        def work(connection: Connection) -> list[Upload]:
            cancelled = []
            for upload in choose(connection):
                after = msgspec.structs.replace(upload, phase=Phase.CANCELLED, ended_at=now)
                if self._exchange.work(upload, after)(connection) is True:
                    cancelled.append(after)
            return cancelled

        cancelled = await self._database.write(work)
        if cancelled:
            self._feed.wake()
        return cancelled

    async def declare(self, upload_id: str, size_bytes: int) -> bool:
        """Note how large an upload is that was begun without saying so; return False if that is known already.

        Raises:
            QuotaExceeded: so much is not left to its space or user; nothing was changed.
        """
        values = {"upload": upload_id, "size_bytes": size_bytes}

        def work(connection: Connection) -> bool | PenstockError:
            refusal = self._ledger.count(connection, upload_id, size_bytes, is_size=True)
            return statements.DECLARE.execute(connection, values) == 1 if refusal is None else refusal

        return _unless_refused(await self._database.write(work))

    async def reserve(self, upload_id: str, to_bytes: int) -> None:
        """Have an upload of unknown size count for so many bytes, if it does not yet; where quotas are kept.

        Raises:
            QuotaExceeded: so much is not left to its space or user; nothing was changed.
        """
        if self._ledger.is_kept:
            refusal = await self._database.write(lambda connection: self._ledger.count(connection, upload_id, to_bytes))
            if refusal is not None:
                raise refusal

    async def note(
        self, upload_id: str, happenings: Sequence[Happening], *, scan: ScanMark | None = None, reason: str = ""
    ) -> None:
        """Note what steps say, all at once, and in the feed.

        Args:
            upload_id: the upload. Nothing is noted if there is none, or not any more.
            happenings: what to write down if it is in processing.
            scan: what the virus scanner said last; None: nothing new.
            reason: why a step did not let it pass, for the case that this decides; empty: nothing new.
        """

        def work(connection: Connection) -> None:
            journal.append_while_processing(connection, happenings)
            if scan is not None:
                statements.MARK.execute(connection, {"upload": upload_id, **scan_values(scan)})
            if reason:
                statements.EXPLAIN.execute(connection, {"upload": upload_id, "reason": reason})

        await self._database.write(work)
        self._feed.wake()

    async def explain(self, ended: Upload) -> None:
        """Write reason and scan of an upload that has ended; nothing if it is not in that phase and run any more."""
        values = {
            **scan_values(ended.scan),
            "reason": ended.reason,
            "upload": ended.id,
            "in_phase": ended.phase.value,
            "in_run": ended.run,
        }
        await self._database.write(lambda connection: statements.EXPLAIN_ENDED.execute(connection, values))

    async def discarded(self, upload_id: str) -> None:
        """Note that the bytes of an upload that gave them up are gone."""
        await self._database.write(lambda connection: connection.execute(statements.DISCARDED, {"upload": upload_id}))

    async def begin_withdrawal(self, upload_id: str) -> int | None:
        """Note that the released copy of a rejected upload is about to be removed; return the token that ends this.

        From then on, and for a day unless it ends, it `is_withdrawn`. None: it is not rejected any more.
        """
        token, now = secrets.randbits(62), self._clock.now()
        values = {"token": token, "upload": upload_id, "begun_at": to_microseconds(now)}

        def work(connection: Connection) -> bool:
            connection.execute(statements.FORGET_WITHDRAWALS, {"cutoff": to_microseconds(now - _STANDS_STILL)})
            return connection.execute(statements.BEGIN_WITHDRAWAL, values).first() is not None

        return token if await self._database.write(work) else None

    async def end_withdrawal(self, token: int) -> None:
        """Note that the copy is gone, and nobody is about to remove another one."""
        await self._database.write(lambda connection: connection.execute(statements.END_WITHDRAWAL, {"token": token}))

    async def is_withdrawn(self, upload_id: str) -> bool:
        """Tell whether somebody may remove the released copy of an upload yet, who began that while it was rejected.

        Whatever is staged of it must stay until then.
        """
        values = {"upload": upload_id, "cutoff": to_microseconds(self._clock.now() - _STANDS_STILL)}
        found = await self._database.find(lambda connection: connection.execute(statements.WITHDRAWN, values).first())
        return found is not None

    async def forget(self, upload_ids: Sequence[str]) -> int:
        """Remove entries of uploads that have no bytes; return how many. Others are left alone."""
        if not upload_ids:
            return 0
        values = {"ids": list(upload_ids)}
        return await self._database.write(lambda connection: connection.execute(statements.FORGET, values).rowcount)


def _unless_refused(answer: bool | PenstockError) -> bool:
    if isinstance(answer, PenstockError):
        raise answer
    return answer
