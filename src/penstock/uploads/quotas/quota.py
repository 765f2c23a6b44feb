"""Accounts of what spaces and users have, kept in the very transactions that change it.

An account is changed together with the row of the upload that it is changed for, and what an upload counts for stands
in its row. So no death can come between the two, and the sums can be made anew at any time, which happens at each
start. Whoever wants more asks and takes in one transaction, and these take turns: SQLite has one writer, and in
PostgreSQL all processes take the same lock first. So nobody can be promised what somebody else is given.

Accounts are kept for those only who have a limit that needs one; without such limits, nothing of this costs anything.
Where several instances share the database they are kept for all: another instance may have other limits, such as while
they are being changed, and must find there what came in through this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

from ...db.prepared import Prepared
from ...db.tables import accounts, uploads
from ..allowances import THE_INSTANCE, UNLIMITED, Subject, SubjectKind
from ..errors import QuotaExceeded, TooMany
from ..upload import Phase, counted_bytes
from .accounts import Account, Row, Usage, accounts_of, add_to_all, row_of, summed, take_the_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from ...errors import PenstockError
    from ..allowances import Allowance, Allowances
    from ..places import Place
    from ..upload import Upload

_AGAIN_SECONDS: Final = 30
"""When somebody with too many unfinished uploads may try again: these take a while to end."""


_COUNT: Final = Prepared(update(uploads).where(uploads.c.id == bindparam("upload")), "counted_bytes")
_IS_RECEIVING: Final = uploads.c.phase == Phase.RECEIVING.value
_LEND: Final = (
    update(uploads)
    .where(uploads.c.id.in_(bindparam("parts", expanding=True)), _IS_RECEIVING, uploads.c.counted_in == "")
    .values(counted_bytes=0, counted_in=bindparam("final"))
)
_PARTS: Final = select(uploads.c.space, uploads.c.owner, uploads.c.counted_bytes).where(
    uploads.c.id.in_(bindparam("parts", expanding=True)), _IS_RECEIVING, uploads.c.counted_in == ""
)
_LENT: Final = select(uploads.c.space, uploads.c.owner, uploads.c.size_bytes).where(
    uploads.c.counted_in == bindparam("final"), uploads.c.counted_in != literal_column("''"), _IS_RECEIVING
)
_GIVE_BACK: Final = (
    update(uploads)
    .where(uploads.c.counted_in == bindparam("final"), uploads.c.counted_in != literal_column("''"), _IS_RECEIVING)
    .values(counted_bytes=func.coalesce(uploads.c.size_bytes, 0), counted_in="")
)
_AT_PLACE: Final = select(func.coalesce(func.sum(uploads.c.counted_bytes), 0)).where(
    uploads.c.phase == literal_column(f"'{Phase.RELEASED}'"),
    uploads.c.space == bindparam("in_space"),
    uploads.c.path == bindparam("at_path"),
)
_USED: Final = {Phase.PROCESSING, Phase.RELEASED}


class Ledger:
    """Keeps the accounts. All methods but `check` belong into a transaction that writes.

    What is refused has changed nothing, and is returned rather than raised: a transaction is shared with other writes,
    which would all have to be done again.
    """

    def __init__(self, allowances: Allowances = UNLIMITED, *, shared: bool = False) -> None:
        """Keep what these limits need; with `shared`, what those of any other instance may need."""
        self.allowances = allowances
        self.is_kept = shared or allowances.any_counted
        """Whether there are any accounts."""
        self._shared = shared

    def check(self, connection: Connection, space: str, owner: str, wanted: Account) -> PenstockError | None:
        """Return why somebody may not have more, if so."""
        counted = self.allowances.counted(space, owner)
        present = accounts_of(connection, [subject for subject, _ in counted])
        refusals = (_refusal(subject, allowance, present[subject], wanted, wanted) for subject, allowance in counted)
        return next((refusal for refusal in refusals if refusal is not None), None)

    def enter(self, connection: Connection, upload: Upload) -> PenstockError | None:
        """Count an upload that is about to be entered; return why it must not be, if so.

        What it is made of counts from now on as part of it.
        """
        if not self.is_kept:
            return None
        take_the_lock(connection)
        wanted = Account(reserved_bytes=counted_bytes(upload), unfinished=1)
        lent = self._lent(connection, _PARTS, {"parts": list(set(upload.parts))}) if upload.parts else {}
        changes = dict.fromkeys(self._kept(upload.space, upload.owner), wanted)
        for subject, relief in lent.items():
            changes[subject] = changes.get(subject, Account()).minus(relief)
        return _take(connection, changes, self.allowances.counted(upload.space, upload.owner), wanted)

    def before(self, connection: Connection, before: Upload, after: Upload) -> Row | None:
        """Return what is written of an upload that is about to change; None: the accounts are not concerned."""
        if not self.is_kept or {before.phase, after.phase} <= _USED:
            return None
        take_the_lock(connection)
        return row_of(connection, before.id)

    def move(self, connection: Connection, before: Row, after: Upload) -> None:
        """Count what a change has done; never refuses: the bytes are here already.

        In the space that is written: it may have been moved to another one since whoever changes it has read it.
        """
        is_now = before._replace(phase=after.phase, counted_bytes=counted_bytes(after))
        change = is_now.account.minus(before.account)
        if change != Account():
            add_to_all(connection, dict.fromkeys(self._kept(before.space, before.owner), change))

    def transfer(self, connection: Connection, place: Place, space: str) -> PenstockError | None:
        """Count a file, all its versions, in another space from now on; return why it must not be there, if so."""
        if not self.is_kept or place.space == space:
            return None
        take_the_lock(connection)
        values = {"in_space": place.space, "at_path": place.path}
        moved = Account(used_bytes=int(connection.execute(_AT_PLACE, values).scalar_one()))
        subject, left = Subject(SubjectKind.SPACE, space), Subject(SubjectKind.SPACE, place.space)
        changes = {subject: moved, left: Account().minus(moved)}
        kept = {one: change for one, change in changes.items() if self._keeps(one)}
        allowance = self.allowances.of(subject)
        return _take(connection, kept, [(subject, allowance)] if allowance.is_counted else [], moved)

    def count(
        self, connection: Connection, upload_id: str, to_bytes: int, *, is_size: bool = False
    ) -> PenstockError | None:
        """Count an upload of unknown size on its way in as this large; return why it must not become so, if so.

        It does not become smaller by that, unless this `is_size`.
        """
        if self.is_kept:
            take_the_lock(connection)
        row = row_of(connection, upload_id)
        if row is None or row.phase is not Phase.RECEIVING or row.size_bytes is not None:
            return None
        if row.counted_bytes >= to_bytes and not is_size:
            return None
        wanted = Account(reserved_bytes=to_bytes - row.counted_bytes)
        if self.is_kept and wanted != Account():
            changes = dict.fromkeys(self._kept(row.space, row.owner), wanted)
            refusal = _take(connection, changes, self.allowances.counted(row.space, row.owner), wanted)
            if refusal is not None:
                return refusal
        _COUNT.execute(connection, {"upload": upload_id, "counted_bytes": to_bytes})
        return None

    def lend(self, connection: Connection, final: Upload) -> None:
        """Note that parts count as part of what is made of them, which was just entered."""
        connection.execute(_LEND, {"parts": list(set(final.parts)), "final": final.id})

    def lend_again(self, connection: Connection, final: Upload) -> None:
        """Have parts count for themselves no more, since what was made of them counts again."""
        if self.is_kept:
            lent = self._lent(connection, _PARTS, {"parts": list(set(final.parts))})
            add_to_all(connection, {subject: Account().minus(relief) for subject, relief in lent.items()})
        self.lend(connection, final)

    def give_back(self, connection: Connection, final_id: str) -> None:
        """Have parts count for themselves again, since what was made of them does not count any more."""
        if self.is_kept:
            add_to_all(connection, self._lent(connection, _LENT, {"final": final_id}))
        connection.execute(_GIVE_BACK, {"final": final_id})

    def make_anew(self, connection: Connection) -> int:
        """Make all accounts anew from the uploads; return how many were not right.

        After a start with other limits than before these are many; else there should be none.
        """
        if not self.is_kept:
            connection.execute(delete(accounts))
            return 0
        take_the_lock(connection)
        right = {subject: account for subject, account in summed(connection).items() if self._keeps(subject)}
        found = {
            Subject(SubjectKind(kind), name): Account(*numbers)
            for kind, name, *numbers in connection.execute(select(*accounts.c))
        }
        connection.execute(delete(accounts))
        if right:
            rows = [{"kind": who.kind.value, "name": who.name, **has._asdict()} for who, has in right.items()]
            connection.execute(insert(accounts), rows)
        nothing = Account()
        return sum(right.get(one, nothing) != found.get(one, nothing) for one in right.keys() | found.keys())

    def of(self, connection: Connection, subjects: Sequence[Subject]) -> list[Usage]:
        """Return what somebody has for whom an account is kept."""
        present = accounts_of(connection, subjects)
        return [Usage(subject, present[subject], self.allowances.of(subject)) for subject in subjects]

    def of_all(self, connection: Connection) -> list[Usage]:
        """Return what everybody has who has anything, or was given a limit by name; summed up from the uploads."""
        known = dict.fromkeys(self.allowances.named(), Account()) | summed(connection)
        return [Usage(subject, account, self.allowances.of(subject)) for subject, account in sorted(known.items())]

    def subjects(self, space: str | None, owner: str | None) -> list[Subject]:
        """Return those of them who have a limit that needs an account, the server first; None: no space, or user."""
        said = [(SubjectKind.SPACE, space), (SubjectKind.USER, owner)]
        some = [THE_INSTANCE, *(Subject(kind, name) for kind, name in said if name is not None)]
        return [subject for subject in some if self.allowances.of(subject).is_counted]

    def _keeps(self, subject: Subject) -> bool:
        return self._shared or self.allowances.of(subject).is_counted

    def _kept(self, space: str, owner: str) -> list[Subject]:
        return [subject for subject, _ in self.allowances.about(space, owner) if self._keeps(subject)]

    def _lent(self, connection: Connection, statement: Any, values: Mapping[str, Any]) -> dict[Subject, Account]:
        sums: dict[Subject, Account] = {}
        for space, owner, size_bytes in connection.execute(statement, values):
            part = Account(reserved_bytes=size_bytes or 0, unfinished=1)
            for subject in self._kept(space, owner):
                sums[subject] = sums.get(subject, Account()).plus(part)
        return sums


def _take(
    connection: Connection,
    changes: Mapping[Subject, Account],
    counted: Sequence[tuple[Subject, Allowance]],
    wanted: Account,
) -> PenstockError | None:
    """Change accounts; return why one of those who are `counted` may not have that, if so: then nothing is changed.

    What is mostly given is taken first, and compared then: one statement, and a second one only to give it back.
    """
    present = add_to_all(connection, changes)
    for subject, allowance in counted:
        before = present[subject].minus(changes[subject])
        refusal = _refusal(subject, allowance, before, changes[subject], wanted)
        if refusal is not None:
            add_to_all(connection, {one: Account().minus(change) for one, change in changes.items()})
            return refusal
    return None


def _refusal(
    subject: Subject, allowance: Allowance, account: Account, change: Account, wanted: Account
) -> PenstockError | None:
    most = allowance.max_unfinished
    if most is not None and change.unfinished > 0 and account.unfinished + change.unfinished > most:
        return TooMany.unfinished(subject, most, retry_after_seconds=_AGAIN_SECONDS)
    quota, more = allowance.quota_bytes, change.used_bytes + change.reserved_bytes
    if quota is None or more <= 0 or account.used_bytes + account.reserved_bytes + more <= quota:
        return None
    return QuotaExceeded(
        subject,
        needed_bytes=wanted.used_bytes + wanted.reserved_bytes,
        quota_bytes=quota,
        used_bytes=account.used_bytes,
        reserved_bytes=account.reserved_bytes,
    )
