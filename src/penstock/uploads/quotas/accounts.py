"""What somebody has, as it is written: the accounts of quotas, and what each upload adds to them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, case, func, select, text

from ...db import is_alone
from ...db.prepared import Prepared
from ...db.tables import uploads
from ..allowances import Subject, SubjectKind
from ..upload import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from ..allowances import Allowance

_AT_ONCE: Final = 100
"""Accounts that one statement is about."""
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
_IS_RECEIVING: Final = uploads.c.phase == Phase.RECEIVING.value
_IS_UNFINISHED: Final = _IS_RECEIVING & (uploads.c.counted_in == "")
_SUMS: Final = (
    func.coalesce(func.sum(case((~_IS_RECEIVING, uploads.c.counted_bytes), else_=0)), 0),
    func.coalesce(func.sum(case((_IS_RECEIVING, uploads.c.counted_bytes), else_=0)), 0),
    func.coalesce(func.sum(case((_IS_UNFINISHED, 1), else_=0)), 0),
)
_NUMBERS: Final = ("used_bytes", "reserved_bytes", "unfinished")
_COLUMNS: Final = {SubjectKind.SPACE: uploads.c.space, SubjectKind.USER: uploads.c.owner}


@cache
def _reading(number: int) -> Prepared:
    """Return the statement that finds so many accounts."""
    wanted = " OR ".join(f"(kind = :kind_{index} AND name = :name_{index})" for index in range(number))
    return Prepared(text(f"SELECT kind, name, {', '.join(_NUMBERS)} FROM accounts WHERE {wanted}"))  # noqa: S608


@cache
def _adding(number: int) -> Prepared:
    """Return the statement that changes so many accounts, which are begun with that if need be."""
    rows = ", ".join(
        f"({', '.join(f':{name}_{index}' for name in ('kind', 'name', *_NUMBERS))})" for index in range(number)
    )
    sums = ", ".join(f"{name} = accounts.{name} + excluded.{name}" for name in _NUMBERS)
    return Prepared(
        text(
            f"INSERT INTO accounts (kind, name, {', '.join(_NUMBERS)}) VALUES {rows} "  # noqa: S608
            f"ON CONFLICT (kind, name) DO UPDATE SET {sums} RETURNING kind, name, {', '.join(_NUMBERS)}"
        )
    )


def _named(subjects: Sequence[Subject]) -> dict[str, str | int]:
    values: dict[str, str | int] = {}
    for index, (kind, name) in enumerate(subjects):
        values |= {f"kind_{index}": kind.value, f"name_{index}": name}
    return values


def _accounts(rows: Iterable[Sequence[Any]]) -> dict[Subject, Account]:
    return {Subject(SubjectKind(kind), name): Account(*numbers) for kind, name, *numbers in rows}


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


def accounts_of(connection: Connection, subjects: Sequence[Subject]) -> dict[Subject, Account]:
    """Return the accounts of some; empty ones where none was begun. One statement, for up to a hundred."""
    found = dict.fromkeys(subjects, Account())
    for begin in range(0, len(subjects), _AT_ONCE):
        some = subjects[begin : begin + _AT_ONCE]
        found |= _accounts(_reading(len(some)).all(connection, _named(some)))
    return found


def add_to_all(connection: Connection, changes: Mapping[Subject, Account]) -> dict[Subject, Account]:
    """Change the accounts of some; return what they are then. One statement, for up to a hundred.

    Whoever changes several has them in the same order, so that no two wait for each other.
    """
    changed: dict[Subject, Account] = {}
    ordered = sorted(changes.items())
    for begin in range(0, len(ordered), _AT_ONCE):
        some = ordered[begin : begin + _AT_ONCE]
        values = _named([subject for subject, _ in some])
        for index, (_, change) in enumerate(some):
            values |= {f"{name}_{index}": number for name, number in change._asdict().items()}
        changed |= _accounts(_adding(len(some)).all(connection, values))
    return changed


def take_the_lock(connection: Connection) -> None:
    """Keep other processes from the accounts until the transaction ends, unless its begin has done so."""
    if not is_alone(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
