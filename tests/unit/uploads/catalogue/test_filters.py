"""Lists show what matches, whatever is asked for, and take no longer when there are many uploads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert

from penstock.db import Database
from penstock.db.tables import uploads as table
from penstock.testing import ManualClock
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.catalogue.filters import Filters, pages
from penstock.uploads.catalogue.rows import COLUMNS, changing_values, fixed_values, scan_values
from penstock.uploads.upload import Phase, ScanMark, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def values(upload: Upload) -> dict[str, Any]:
    return {
        **fixed_values(upload),
        **changing_values(upload),
        **scan_values(upload.scan),
        "run_cause": "",
        "discard_pending": False,
        "counted_bytes": 0,
        "counted_in": "",
    }


async def fill(database: Database, uploads: Iterable[Upload]) -> None:
    rows = [values(upload) for upload in uploads]
    await database.write(lambda connection: connection.execute(insert(table), rows).close())


def variety() -> list[Upload]:
    """One upload of each kind that any filter can tell apart."""
    scans = (None, ScanMark(infected=False), ScanMark(infected=True, signature="Eicar"))
    ends = (None, NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    kinds = product(Phase, scans, ("default", "other"), ("a", "b"), ends)
    return [
        Upload(id=f"{number:032x}", filename=name, space=space, phase=phase, scan=scan, expires_at=end, created_at=NOW)
        for number, (phase, scan, space, name, end) in enumerate(kinds)
    ]


def matches(upload: Upload, wanted: dict[str, Any]) -> bool:
    """What the filters mean, in the plainest words."""
    overdue = upload.phase is Phase.RECEIVING and upload.expires_at is not None and upload.expires_at <= NOW
    facts: dict[str, Callable[[Any], bool]] = {
        "ids": lambda ids: upload.id in ids,
        "phases": lambda phases: upload.phase in phases,
        "expired": lambda expired: expired == (upload.phase is Phase.EXPIRED or overdue),
        "has_virus": lambda sick: sick == (upload.scan is not None and upload.scan.infected),
        "space": lambda space: upload.space == space,
        "filename": lambda name: upload.filename == name,
        "owner": lambda owner: upload.owner == owner,
    }
    return all(facts[name](value) for name, value in wanted.items() if value is not None)


async def test_any_combination_of_filters_shows_what_matches(database: Database) -> None:
    clock = ManualClock(NOW)
    catalogue = Catalogue(database, Feed(database, clock), clock)
    everything = variety()
    await fill(database, everything)
    some_ids = [upload.id for upload in everything[::5]]
    choices: dict[str, list[Any]] = {
        "ids": [None, some_ids, []],
        "phases": [None, [Phase.PROCESSING, Phase.RECEIVING, Phase.RECEIVING], list(Phase)[3:], []],
        "expired": [None, True, False],
        "has_virus": [None, True, False],
        "space": [None, "other"],
        "filename": [None, "a"],
    }
    for combination in product(*choices.values()):
        wanted = dict(zip(choices, combination, strict=True))
        expected = [upload.id for upload in reversed(everything) if matches(upload, wanted)]
        shown, cursor = [], None
        while True:
            page = await catalogue.list(**wanted, now=NOW, limit=40, cursor=cursor)
            shown += [upload.id for upload in page.uploads]
            cursor = page.next
            if cursor is None:
                break
        assert shown == expected, wanted


async def test_the_uploads_of_a_user_and_those_of_nobody(database: Database) -> None:
    clock = ManualClock(NOW)
    catalogue = Catalogue(database, Feed(database, clock), clock)
    kinds = product(Phase, (None, ScanMark(infected=True)), ("default", "other"), ("alice", "bob", ""))
    everything = [
        Upload(
            id=f"{number:032x}", filename="a", space=space, phase=phase, scan=scan, owner=owner, created_at=NOW,
            expires_at=NOW - timedelta(hours=number % 2),
        )
        for number, (phase, scan, space, owner) in enumerate(kinds)
    ]  # fmt: skip
    await fill(database, everything)
    choices: dict[str, list[Any]] = {
        "ids": [None, [upload.id for upload in everything[::5]]],
        "phases": [None, [Phase.RECEIVING, Phase.RELEASED]],
        "expired": [None, True, False],
        "has_virus": [None, True],
        "space": [None, "other"],
        "filename": [None, "a"],
        "owner": ["alice", ""],
    }
    for combination in product(*choices.values()):
        wanted = dict(zip(choices, combination, strict=True))
        expected = [upload.id for upload in reversed(everything) if matches(upload, wanted)]
        page = await catalogue.list(**wanted, now=NOW, limit=1000)
        assert [upload.id for upload in page.uploads] == expected, wanted


async def test_more_ids_than_a_statement_can_carry(database: Database) -> None:
    clock = ManualClock(NOW)
    catalogue = Catalogue(database, Feed(database, clock), clock)
    await fill(database, crowd(1500))
    ids = [f"{n:032x}" for n in range(60_000)]
    page = await catalogue.list(ids=[*ids, *ids[:600]], limit=1000)
    rest = await catalogue.list(ids=ids, limit=1000, cursor=page.next)
    assert [upload.id for upload in (*page.uploads, *rest.uploads)] == ids[1499::-1]


def test_expiry_cannot_be_told_without_the_time() -> None:
    with pytest.raises(ValueError, match="give `now`"):
        Filters(expired=True)


def crowd(number: int) -> Iterable[Upload]:
    """Mostly released files, with everything that is looked for rare, old, and far from the newest."""
    for n in range(number):
        rare = n < 400
        yield Upload(
            id=f"{n:032x}",
            filename=f"file {n % 5}" if rare else "common",
            space="rare" if n < 200 else "default",
            phase=list(Phase)[n % 7] if rare else Phase.RELEASED,
            scan=ScanMark(infected=n % 40 == 0) if rare else ScanMark(infected=False),
            expires_at=NOW - timedelta(hours=1) if n % 3 else NOW + timedelta(hours=1),
            created_at=NOW,
            owner="rare" if n < 200 else "common",
        )


LISTS: dict[str, dict[str, Any]] = {
    "everything": {},
    "one rare phase": {"phases": [Phase.PROCESSING]},
    "many phases": {"phases": [Phase.RELEASED, Phase.PROCESSING, Phase.RECEIVING]},
    "all phases but one": {"phases": [phase for phase in Phase if phase is not Phase.PROCESSING]},
    "a phase nobody is in any more": {"phases": [Phase.EXPIRED], "space": "default", "filename": "nothing"},
    "the expired": {"expired": True, "now": NOW},
    "the others": {"expired": False, "now": NOW},
    "the infected": {"has_virus": True},
    "the infected of a phase": {"has_virus": True, "phases": [Phase.RELEASED]},
    "the clean": {"has_virus": False},
    "a rare space": {"space": "rare"},
    "a common space": {"space": "default"},
    "a rare space and phase": {"space": "rare", "phases": [Phase.PROCESSING]},
    "a file of a space": {"space": "default", "filename": "common"},
    "a rare name": {"filename": "file 3"},
    "a rare name of a phase": {"filename": "file 3", "phases": [Phase.RELEASED, Phase.PROCESSING]},
    "a rare user": {"owner": "rare"},
    "a common user": {"owner": "common"},
    "what a user has not finished": {"owner": "common", "phases": [Phase.RECEIVING], "expired": False, "now": NOW},
    "what nobody has": {"owner": "", "phases": [Phase.RECEIVING]},
    "single ones": {"ids": [f"{n:032x}" for n in (1, 2, 350, 777777)]},
    "single ones of a phase": {"ids": [f"{n:032x}" for n in range(100)], "phases": [Phase.RELEASED]},
}


async def test_no_list_takes_longer_for_a_hundred_times_as_many_uploads(database: Database) -> None:
    """Counts the steps of SQLite's virtual machine, which do not depend on the machine's mood."""
    few, many = 1000, 100_000
    everyone = iter(crowd(many))
    effort: dict[int, dict[str, int]] = {}
    for number, new in ((few, few), (many, many - few)):
        for _ in range(0, new, 1000):
            await fill(database, islice(everyone, 1000))
        effort[number] = {
            f"{name}, {place}": await database.read(steps(Filters(**wanted), before))
            for name, wanted in LISTS.items()
            for place, before in {"first page": None, "later page": number - 300, "last page": 150}.items()
        }
    slower = {name: (effort[few][name], steps) for name, steps in effort[many].items() if steps > 3 * effort[few][name]}
    assert slower == {}


def steps(filters: Filters, before: int | None) -> Callable[[Connection], int]:
    """Count the steps of reading one page, in hundreds."""

    def work(connection: Connection) -> int:
        counted = [1]
        raw: Any = connection.connection.driver_connection
        raw.set_progress_handler(lambda: counted.append(1), 100)
        for statement in pages(filters, COLUMNS, before=before, limit=101):
            connection.execute(statement).all()
        raw.set_progress_handler(None, 0)
        return len(counted)

    return work
