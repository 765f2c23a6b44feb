"""What somebody has, as it is written: the accounts of quotas, and what each upload adds to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, case, func, select, text

from ..db.prepared import Prepared
from ..db.tables import accounts, uploads
from .allowances import Subject, SubjectKind
from .upload import Phase

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from .allowances import Allowance

_LOCK: Final = int.from_bytes(b"quota")
"""The key of the lock in PostgreSQL."""


class Account(NamedTuple):
    """What somebody has; as a change, what comes and goes."""

    used_bytes: int = 0
    """Of files whose bytes have all arrived, and are not given up."""
    reserved_bytes: int = 0
    """Of uploads on their way in."""
    unfinished: int = 0
    """How many of these there are."""

    def plus(self, other: Account) -> Account:
        """Return the sum."""
        return Account(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))

    def minus(self, other: Account) -> Account:
        """Return the difference."""
        return Account(*(ours - theirs for ours, theirs in zip(self, other, strict=True)))


class Usage(NamedTuple):
    """What somebody has, and may have."""

    subject: Subject
    account: Account
    allowance: Allowance


class Row(NamedTuple):
    """What the accounts have to know of an upload, as it is written."""

    phase: Phase
    space: str
    owner: str
    size_bytes: int | None
    counted_bytes: int
    counted_in: str
    """The upload that this one is a part of, and counts with; empty: it counts for itself."""

    @property
    def account(self) -> Account:
        """What it adds to the accounts that it counts for."""
        if self.phase is not Phase.RECEIVING:
            return Account(used_bytes=self.counted_bytes)
        return Account() if self.counted_in else Account(reserved_bytes=self.counted_bytes, unfinished=1)


_ROW: Final = Prepared(
    select(
        uploads.c.phase, uploads.c.space, uploads.c.owner, uploads.c.size_bytes, uploads.c.counted_bytes,
        uploads.c.counted_in,
    ).where(uploads.c.id == bindparam("upload"))
)  # fmt: skip
_ACCOUNT: Final = Prepared(
    select(accounts.c.used_bytes, accounts.c.reserved_bytes, accounts.c.unfinished).where(
        accounts.c.kind == bindparam("subject_kind"), accounts.c.name == bindparam("subject_name")
    )
)
_ADD: Final = Prepared(
    text(
        "INSERT INTO accounts (kind, name, used_bytes, reserved_bytes, unfinished) "
        "VALUES (:kind, :name, :used_bytes, :reserved_bytes, :unfinished) ON CONFLICT (kind, name) DO UPDATE SET "
        "used_bytes = accounts.used_bytes + excluded.used_bytes, "
        "reserved_bytes = accounts.reserved_bytes + excluded.reserved_bytes, "
        "unfinished = accounts.unfinished + excluded.unfinished"
    )
)
_IS_RECEIVING: Final = uploads.c.phase == Phase.RECEIVING.value
_IS_UNFINISHED: Final = _IS_RECEIVING & (uploads.c.counted_in == "")
_SUMS: Final = (
    func.coalesce(func.sum(case((~_IS_RECEIVING, uploads.c.counted_bytes), else_=0)), 0),
    func.coalesce(func.sum(case((_IS_RECEIVING, uploads.c.counted_bytes), else_=0)), 0),
    func.coalesce(func.sum(case((_IS_UNFINISHED, 1), else_=0)), 0),
)
_COLUMNS: Final = {SubjectKind.SPACE: uploads.c.space, SubjectKind.USER: uploads.c.owner}


def row_of(connection: Connection, upload_id: str) -> Row | None:
    """Return what is written of an upload; None: there is none."""
    row = _ROW.first(connection, {"upload": upload_id})
    return None if row is None else Row(Phase(row[0]), *row[1:])


def summed(connection: Connection) -> dict[Subject, Account]:
    """Return what everybody has, from the uploads themselves; the longer, the more uploads there are."""
    sums = {Subject(SubjectKind.INSTANCE): Account(*connection.execute(select(*_SUMS)).one())}
    for kind, column in _COLUMNS.items():
        for name, *numbers in connection.execute(select(column, *_SUMS).group_by(column)):
            if any(numbers):
                sums[Subject(kind, name)] = Account(*numbers)
    return {subject: Account(*map(int, account)) for subject, account in sums.items()}


def account_of(connection: Connection, subject: Subject) -> Account:
    """Return somebody's account; an empty one where none was begun."""
    values = {"subject_kind": subject.kind.value, "subject_name": subject.name}
    row = _ACCOUNT.first(connection, values)
    return Account() if row is None else Account(*row)


def add_to(connection: Connection, subject: Subject, change: Account) -> None:
    """Change somebody's account."""
    _ADD.execute(connection, {"kind": subject.kind.value, "name": subject.name, **change._asdict()})


def take_the_lock(connection: Connection) -> None:
    """Keep other processes from the accounts until the transaction ends. In SQLite its begin does it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
