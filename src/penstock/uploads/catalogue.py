"""The catalogue: every upload from its creation until it is forgotten, and the one place where its phase changes.

A change takes effect only on the phase and run that were read, together with its entry in the feed, in one
transaction. What the catalogue says happened to an upload is what readers of the feed are told, each thing once.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, true, tuple_
from sqlalchemy.exc import IntegrityError

from ..db.instants import to_microseconds
from ..db.tables import uploads
from ..errors import PenstockError
from . import journal, statements
from .accounts import Account
from .filters import Filters, pages
from .journal import Details, Happening, Kind
from .listing import Page, merged, number_of
from .quarantine import NOBODY, log_change
from .quota import Ledger
from .rows import COLUMNS, changing_values, final_key, fixed_values, scan_values, upload_of
from .upload import Phase, Upload, counted_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Executable

    from ..clock import Clock
    from ..db import Database
    from .feed import Feed
    from .quarantine import Doer
    from .upload import ScanMark


class UploadExists(PenstockError):
    """There is an upload of this ID already; nothing was changed."""

    code = "upload-exists"


_BATCH: Final = 500
_DECIDED: Final = (Phase.RELEASED, Phase.REJECTED, Phase.DELETED)


class Catalogue:
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
        self._guard = guard
        self._database = database
        self._ledger = ledger or Ledger()
        self._feed = feed
        self._clock = clock

    async def add(self, upload: Upload) -> None:
        """Enter a new upload.

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
        created = self._happening(upload, Kind.CREATED)

        def work(connection: Connection) -> PenstockError | None:
            refusal = self._ledger.enter(connection, upload)
            if refusal is None:
                statements.ADD.execute(connection, values)
                journal.append(connection, upload.phase, [created])
                if upload.parts:
                    self._ledger.lend(connection, upload)
            return refusal

        try:
            refusal = await self._database.write(work)
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
        if self._ledger.is_kept:
            wanted = Account(reserved_bytes=counted_bytes(upload), unfinished=1)
            refusal = await self._database.find(
                lambda connection: self._ledger.check(connection, upload.space, upload.owner, wanted)
            )
            if refusal is not None:
                raise refusal

    async def get(self, upload_id: str) -> Upload | None:
        """Return one upload, or None when there is none."""
        row = await self._database.find(lambda connection: statements.GET.first(connection, {"upload": upload_id}))
        return None if row is None else upload_of(row)

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Upload]:
        """Return those of the uploads that exist, by ID."""
        found: dict[str, Upload] = {}
        ids = iter(upload_ids)
        while batch := list(islice(ids, _BATCH)):
            rows = await self._database.read(_rows(statements.GET_MANY, {"ids": batch}))
            found |= {upload.id: upload for upload in map(upload_of, rows)}
        return found

    async def list(
        self,
        *,
        ids: Sequence[str] | None = None,
        phases: Sequence[Phase] | None = None,
        expired: bool | None = None,
        has_virus: bool | None = None,
        space: str | None = None,
        filename: str | None = None,
        owner: str | None = None,
        now: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of the uploads that match all filters (`Filters`), the newest first.

        `cursor` is a page's `next`; uploads that come, change or go in between neither repeat nor hide others.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """
        filters = Filters(
            ids=ids,
            phases=phases,
            expired=expired,
            has_virus=has_virus,
            space=space,
            filename=filename,
            owner=owner,
            now=now,
        )
        statements = pages(filters, COLUMNS, before=number_of(cursor), limit=limit + 1)
        rows = await self._database.read(lambda connection: merged(connection, statements, limit + 1))
        more = len(rows) > limit
        return Page([upload_of(row) for row in rows[:limit]], str(rows[limit - 1][0]) if more else None)

    async def change(
        self,
        before: Upload,
        after: Upload,
        *,
        cause: str = "",
        preceded_by: Sequence[Happening] = (),
        doer: Doer = NOBODY,
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
        earlier = [*preceded_by]
        if after.phase in _DECIDED:
            earlier.append(self._happening(after, Kind.DECIDED))
        happening = self._happening(after, _kind_of(before, after))

        completes = before.phase is Phase.RECEIVING and after.phase is Phase.PROCESSING
        guard = self._guard if completes else None

        def work(connection: Connection) -> bool:
            if guard is not None:
                guard(connection, before.id)
            row = self._ledger.before(connection, before, after)
            if statements.CHANGE.execute(connection, values) != 1:
                return False
            if row is not None:
                self._ledger.move(connection, row, after)
            if after.parts and not counted_bytes(after):
                self._ledger.give_back(connection, after.id)
            journal.append(connection, before.phase, earlier)
            journal.append(connection, after.phase, [happening])
            log_change(connection, before, after, happening.at, doer)
            return True

        changed = await self._database.write(work)
        if changed:
            self._feed.wake()
        return changed

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

    async def waiting_finals(self) -> Sequence[Upload]:
        """Return the uploads that are to be made of parts, and are not yet."""
        return [upload_of(row) for row in await self._database.read(_rows(statements.WAITING))]

    async def same_final(self, upload: Upload) -> Upload | None:
        """Return an upload made of the same parts, with the same metadata, unless it came to a bad end; or None."""
        rows = await self._database.read(_rows(statements.SAME_FINAL, {"key": final_key(upload)}))
        return upload_of(rows[0]) if rows else None

    async def caused_by(self, upload_id: str) -> str:
        """Return the event that asked for the present run; empty if none did, or there is no such upload."""
        row = await self._database.find(lambda connection: statements.CAUSE.first(connection, {"upload": upload_id}))
        return "" if row is None else row[0]

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

    async def last_start(self, upload_id: str) -> tuple[str, str, int | None] | None:
        """Return start event, step and attempt that were last noted in the upload's present run, or None."""
        return await self._database.read(lambda connection: journal.last_start(connection, upload_id))

    async def counts(self) -> dict[Phase, int]:
        """Return how many uploads are in each phase, those with none included."""
        found = dict.fromkeys(Phase, 0)
        for phase, number in await self._database.read(_rows(statements.COUNTS)):
            found[Phase(phase)] = number
        return found

    async def declared_bytes(self) -> int:
        """Return the sum of the sizes of all uploads whose bytes are on their way in, arrived or not."""
        total: int = await self._database.read(lambda connection: connection.execute(statements.DECLARED).scalar_one())
        return total

    async def oldest(self, phase: Phase) -> Upload | None:
        """Return the upload of a phase that was created first, or None."""
        rows = await self._database.read(_rows(statements.OLDEST, {"in_phase": phase.value}))
        return upload_of(rows[0]) if rows else None

    async def latest(self, space: str, filename: str, phase: Phase = Phase.RELEASED) -> Upload | None:
        """Return the newest upload of this name in a space that is in `phase`, or None."""
        values = {"name": filename, "in_space": space, "in_phase": phase.value}
        rows = await self._database.read(_rows(statements.LATEST, values))
        return upload_of(rows[0]) if rows else None

    def overdue(self, now: datetime) -> AsyncIterator[Sequence[Upload]]:
        """Yield, in batches, the uploads that are not complete though their time is over; the longest overdue first."""
        due = uploads.c.expires_at <= to_microseconds(now)
        return self._batches((statements.IS_RECEIVING, due), uploads.c.expires_at)

    def gone_before(self, cutoff: datetime) -> AsyncIterator[Sequence[Upload]]:
        """Yield, in batches, the uploads that gave up their bytes, all of them, up to `cutoff`."""
        past = uploads.c.ended_at <= to_microseconds(cutoff)
        return self._batches((statements.IS_GONE, past, uploads.c.discard_pending.is_not(true())), uploads.c.ended_at)

    def to_discard(self) -> AsyncIterator[Sequence[Upload]]:
        """Yield, in batches, the uploads whose bytes were given up, but may still be there."""
        return self._batches((statements.TO_DISCARD,), uploads.c.seq)

    async def discarded(self, upload_id: str) -> None:
        """Note that the bytes of an upload that gave them up are gone."""
        await self._database.write(lambda connection: connection.execute(statements.DISCARDED, {"upload": upload_id}))

    async def forget(self, upload_ids: Sequence[str]) -> int:
        """Remove entries of uploads that have no bytes; return how many. Others are left alone."""
        if not upload_ids:
            return 0
        values = {"ids": list(upload_ids)}
        return await self._database.write(lambda connection: connection.execute(statements.FORGET, values).rowcount)

    async def _batches(
        self, conditions: Sequence[ColumnElement[bool]], order: ColumnElement[Any]
    ) -> AsyncIterator[Sequence[Upload]]:
        page = select(*COLUMNS, order).where(*conditions).order_by(order, uploads.c.seq).limit(_BATCH)
        statement = page
        while rows := await self._database.read(_rows(statement)):
            yield [upload_of(row[:-1]) for row in rows]
            statement = page.where(tuple_(order, uploads.c.seq) > tuple_(rows[-1][-1], rows[-1][0]))

    def _happening(self, upload: Upload, kind: Kind) -> Happening:
        return Happening(
            key=f"{upload.run}:{kind}",
            upload_id=upload.id,
            at=self._clock.now(),
            kind=kind,
            details=Details(filename=upload.filename, outcome=upload.outcome, reason=upload.reason),
        )


def _kind_of(before: Upload, after: Upload) -> Kind:
    if after.phase is Phase.PROCESSING:
        return Kind.RECEIVED if before.phase is Phase.RECEIVING else Kind.RESTARTED
    return Kind(after.phase.value)


def _unless_refused(answer: bool | PenstockError) -> bool:
    if isinstance(answer, PenstockError):
        raise answer
    return answer


def _rows(
    statement: Executable, values: dict[str, Any] | None = None
) -> Callable[[Connection], Sequence[Sequence[Any]]]:
    return lambda connection: connection.execute(statement, values).all()
