"""Quotas: what is promised is taken once, comes back in full, and is right again after anything."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pytest

from penstock.clock import SystemClock
from penstock.db import Database
from penstock.ids import new_upload_id
from penstock.uploads.allowances import UNLIMITED, Allowance, Allowances, Subject, SubjectKind
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.catalogue.paths import carry
from penstock.uploads.errors import QuotaExceeded, TooMany
from penstock.uploads.places import Place
from penstock.uploads.quotas.accounts import Account, take_the_lock
from penstock.uploads.quotas.quota import Ledger
from penstock.uploads.quotas.usage import Usages
from penstock.uploads.upload import Phase, Upload
from tests.unit.uploads.way_in import WayIn, body, cut, way_in

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from sqlalchemy import Connection

    from penstock.errors import PenstockError
    from tests.servers.postgres import PostgresServer


class HasUsages(Protocol):
    usages: Usages


LAB, ALICE = Subject(SubjectKind.SPACE, "lab"), Subject(SubjectKind.USER, "alice")
LIMITED = Allowances(
    instance=Allowance(max_unfinished=1000),
    spaces={"lab": Allowance(quota_bytes=100), "hall": Allowance(quota_bytes=50)},
    users={"alice": Allowance(quota_bytes=1000, max_unfinished=10)},
)
MIB = 1024 * 1024


@pytest.fixture
def catalogue(database: Database) -> Counted:
    return of(database, LIMITED)


class Counted(Catalogue):
    """A catalogue with those who tell what is counted."""

    def __init__(self, database: Database, allowances: Allowances, *, shared: bool = False) -> None:
        clock, ledger = SystemClock(), Ledger(allowances, shared=shared)
        super().__init__(database, Feed(database, clock), clock, ledger)
        self.usages = Usages(database, ledger)


def of(database: Database, allowances: Allowances) -> Counted:
    return Counted(database, allowances)


def upload(**fields: Any) -> Upload:
    blank = {"id": new_upload_id(), "filename": "a", "space": "lab", "owner": "alice", "size_bytes": 10}
    return Upload(**{**blank, "created_at": SystemClock().now(), **fields})


async def entered(catalogue: Catalogue, **fields: Any) -> Upload:
    new = upload(**fields)
    await catalogue.add(new)
    return new


async def become(catalogue: Catalogue, before: Upload, phase: Phase, **fields: Any) -> Upload:
    after = msgspec.structs.replace(before, phase=phase, **fields)
    assert await catalogue.change(before, after)
    return after


async def account(counted: HasUsages, subject: Subject = LAB) -> Account:
    """Return somebody's account, after comparing all of them with what the uploads add up to."""
    named = {usage.subject: usage.account for usage in await counted.usages.of_named()}
    summed = {usage.subject: usage.account for usage in await counted.usages.of_all()}
    assert named == {one: summed.get(one, Account()) for one in named}
    return named[subject]


async def test_a_declared_size_is_reserved_then_used_then_given_back(catalogue: Counted) -> None:
    one = await entered(catalogue, size_bytes=60)
    assert await account(catalogue) == (0, 60, 1)
    one = await become(catalogue, one, Phase.PROCESSING, run=1)
    assert await account(catalogue) == (60, 0, 0)
    one = await become(catalogue, one, Phase.RELEASED)
    assert await account(catalogue) == await account(catalogue, ALICE) == (60, 0, 0)
    await become(catalogue, one, Phase.CANCELLED)
    assert await account(catalogue) == await account(catalogue, ALICE) == (0, 0, 0)


@pytest.mark.parametrize("phase", [Phase.REJECTED, Phase.DELETED, Phase.CANCELLED, Phase.EXPIRED])
@pytest.mark.parametrize("received", [True, False])
async def test_every_bad_end_gives_it_back(catalogue: Counted, phase: Phase, received: bool) -> None:
    one = await entered(catalogue, size_bytes=100)
    if received:
        one = await become(catalogue, one, Phase.PROCESSING, run=1)
    await become(catalogue, one, phase)
    assert await account(catalogue) == await account(catalogue, ALICE) == (0, 0, 0)
    await entered(catalogue, size_bytes=100)


async def test_a_rejected_upload_counts_again_when_it_is_restarted_even_over_the_limit(catalogue: Counted) -> None:
    one = await become(catalogue, await entered(catalogue, size_bytes=80), Phase.PROCESSING, run=1)
    one = await become(catalogue, one, Phase.REJECTED)
    await entered(catalogue, size_bytes=90)
    await become(catalogue, one, Phase.PROCESSING, run=2)
    assert await account(catalogue) == (80, 90, 1)
    with pytest.raises(QuotaExceeded) as caught:
        await entered(catalogue, size_bytes=1)
    assert caught.value.facts["free_bytes"] == 0


async def test_who_has_too_little_left_is_told_what_is_free_and_of_what(catalogue: Counted) -> None:
    await entered(catalogue, size_bytes=70)
    with pytest.raises(
        QuotaExceeded, match=r"31 bytes are more than space 'lab' has left: .* so 30 are free"
    ) as caught:
        await entered(catalogue, size_bytes=31)
    assert caught.value.facts == {
        "resource": "quota",
        "subject": {"kind": "space", "name": "lab"},
        "needed_bytes": 31,
        "free_bytes": 30,
        "limit_bytes": 100,
        "used_bytes": 0,
        "reserved_bytes": 70,
    }
    assert await account(catalogue) == (0, 70, 1)
    await entered(catalogue, size_bytes=30)


async def test_a_moved_file_counts_where_it_is_also_for_who_has_not_heard_of_it(
    catalogue: Counted, database: Database
) -> None:
    ledger, hall = Ledger(LIMITED), Subject(SubjectKind.SPACE, "hall")

    async def move(upload: Upload, space: str) -> PenstockError | None:
        source, target = Place("lab", upload.filename), Place(space, upload.filename)

        def work(connection: Connection) -> PenstockError | None:
            refusal = ledger.transfer(connection, source, space)
            if refusal is None:
                carry(connection, source, target)
            return refusal

        return await database.write(work)

    small, large = [
        await become(
            catalogue,
            await become(catalogue, await entered(catalogue, filename=name, size_bytes=size), Phase.PROCESSING, run=1),
            Phase.RELEASED,
            run=1,
        )
        for name, size in (("small", 40), ("large", 60))
    ]
    assert isinstance(await move(large, "hall"), QuotaExceeded)
    assert await move(small, "hall") is None
    assert await move(small, "hall") is None
    assert (await account(catalogue), await account(catalogue, hall)) == ((60, 0, 0), (40, 0, 0))
    await become(catalogue, small, Phase.CANCELLED)
    assert (await account(catalogue), await account(catalogue, hall)) == ((60, 0, 0), (0, 0, 0))


async def test_instances_with_other_limits_leave_the_accounts_right_for_each_other(database: Database) -> None:
    ours, theirs = Counted(database, LIMITED, shared=True), Counted(database, UNLIMITED, shared=True)
    await ours.usages.count_anew()
    await entered(ours, size_bytes=40)
    await theirs.usages.count_anew()
    one = await entered(theirs, size_bytes=30)
    assert await account(ours) == (0, 70, 2)
    with pytest.raises(QuotaExceeded):
        await entered(ours, size_bytes=40)
    one = await become(theirs, one, Phase.PROCESSING, run=1)
    assert await account(ours) == (30, 40, 1)
    await become(theirs, one, Phase.CANCELLED)
    assert await account(ours) == (0, 40, 1)
    assert await theirs.usages.of("lab", "alice") == []  # what nobody has limited is not shown


async def test_the_number_of_unfinished_uploads_is_limited(catalogue: Counted) -> None:
    some = [await entered(catalogue, space="other") for _ in range(10)]
    with pytest.raises(TooMany, match="user 'alice' may have 10 unfinished uploads"):
        await entered(catalogue, space="other")
    await entered(catalogue, space="other", owner="bob")
    await become(catalogue, some[0], Phase.PROCESSING, run=1)
    await entered(catalogue, space="other")


async def test_many_at_once_are_never_given_more_than_there_is(catalogue: Counted, database: Database) -> None:
    await racing([catalogue, of(database, LIMITED)])


@pytest.mark.parametrize("ordered", [False, True])
async def test_neither_by_several_processes_on_one_server(postgres: PostgresServer, ordered: bool) -> None:
    """One lock at a time keeps the others out: that of the accounts, or that of all who write in order."""
    url = postgres.url(postgres.new_database())

    def locks(connection: Connection) -> int:
        take_the_lock(connection)
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        return int(connection.exec_driver_sql(held).scalar_one())

    async with AsyncExitStack() as stack:
        some = [await stack.enter_async_context(Database(url, ordered=ordered)) for _ in range(3)]
        await racing([of(database, LIMITED) for database in some])
        assert await some[0].write(locks) == 1


async def test_accounts_cost_a_statement_to_look_and_one_to_take(catalogue: Counted, database: Database) -> None:
    looking, taking = database.lookup(about_accounts), await database.write(about_accounts)
    new = upload()
    await catalogue.check(new)
    await catalogue.add(new)
    assert (len(looking), len(taking)) == (1, 1)
    await become(catalogue, new, Phase.PROCESSING, run=1)
    assert len(taking) == 2
    with pytest.raises(QuotaExceeded):
        await entered(catalogue, size_bytes=91)
    assert len(taking) == 4
    assert await account(catalogue) == (10, 0, 0)


def about_accounts(connection: Connection) -> list[str]:
    """Return the list to which each statement about accounts is added from now on."""
    said: list[str] = []

    def note(statement: str) -> None:
        if "accounts" in statement:
            said.append(statement)

    raw: Any = connection.connection.dbapi_connection
    raw.set_trace_callback(note)
    return said


async def racing(catalogues: list[Counted]) -> None:
    """Want far more than there is, from all sides, while others give up what they have."""
    admitted: list[Upload] = []

    async def want(number: int) -> None:
        catalogue = catalogues[number % len(catalogues)]
        try:
            new = await entered(catalogue, size_bytes=7, owner=f"user {number}")
        except QuotaExceeded:
            return
        admitted.append(new)
        if number % 3 == 0:
            await become(catalogue, new, Phase.CANCELLED)
            admitted.remove(new)
            return
        used = (await account_only(catalogue)).reserved_bytes
        assert used <= 100

    await asyncio.gather(*(want(number) for number in range(150)))
    for number in range(1, 50, 3):  # what was given up while the others were refused is there to be had
        await want(number)
    assert len(admitted) == 100 // 7
    assert await account(catalogues[0]) == (0, 7 * len(admitted), len(admitted))


async def account_only(catalogue: Counted) -> Account:
    [found] = [usage.account for usage in await catalogue.usages.of_named() if usage.subject == LAB]
    return found


async def test_a_size_that_is_declared_later_is_reserved_then(catalogue: Counted) -> None:
    one = await entered(catalogue, size_bytes=None)
    assert await account(catalogue) == (0, 0, 1)
    with pytest.raises(QuotaExceeded):
        await catalogue.declare(one.id, 101)
    await catalogue.reserve(one.id, 50)
    await catalogue.reserve(one.id, 40)
    assert await account(catalogue) == (0, 50, 1)
    assert await catalogue.declare(one.id, 30)
    assert await account(catalogue) == (0, 30, 1)
    assert not await catalogue.declare(one.id, 60)
    await catalogue.reserve(one.id, 60)
    assert await account(catalogue) == (0, 30, 1)


async def test_accounts_are_made_anew_for_the_limits_of_now(database: Database) -> None:
    before = of(database, Allowances())
    one = await entered(before, size_bytes=60)
    await become(before, await entered(before, size_bytes=30), Phase.PROCESSING, run=1)
    catalogue = of(database, LIMITED)
    await catalogue.usages.count_anew()
    assert await account(catalogue) == (30, 60, 1)
    await become(catalogue, one, Phase.EXPIRED)
    await catalogue.usages.count_anew()
    assert await account(catalogue) == await account(catalogue, ALICE) == (30, 0, 0)


async def test_limits_that_were_lowered_hold_up_nothing_that_has_begun(database: Database) -> None:
    before = of(database, Allowances())
    some = [await entered(before, size_bytes=None, space="other") for _ in range(12)]
    catalogue = of(database, LIMITED)
    await catalogue.usages.count_anew()
    assert await catalogue.declare(some[0].id, 30)
    await catalogue.reserve(some[1].id, 50)
    await become(catalogue, some[1], Phase.PROCESSING, run=1, size_bytes=50)
    assert await account(catalogue, ALICE) == (50, 30, 11)
    with pytest.raises(TooMany):
        await entered(catalogue, space="other")


STEPS = (Phase.PROCESSING, Phase.RELEASED, Phase.REJECTED, Phase.DELETED, Phase.CANCELLED, Phase.EXPIRED)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_accounts_are_what_the_uploads_add_up_to(catalogue: Counted, seed: int) -> None:
    chance = random.Random(seed)
    living: list[Upload] = []
    for number in range(120):
        match chance.choice(("begin", "begin", "part", "final", "grow", "declare", "change", "change")):
            case "begin" | "part" as kind:
                size = chance.choice((None, 0, 3, 20)) if kind == "begin" else chance.randrange(20)
                fields = {"concat": "partial" if kind == "part" else "", "size_bytes": size}
                await attempt(living, catalogue, **fields, owner=chance.choice(("alice", "bob", "")))
            case "final" if parts := [one for one in living if one.is_part]:
                some = chance.choices(parts, k=chance.randrange(1, 4))
                concat = "final;" + " ".join(f"/uploads/{part.id}" for part in some)
                await attempt(living, catalogue, concat=concat, size_bytes=sum(part.size_bytes or 0 for part in some))
            case "grow" | "declare" as kind if unsized := [one for one in living if one.size_bytes is None]:
                one = chance.choice(unsized)
                with suppress(QuotaExceeded):
                    if kind == "grow":
                        await catalogue.reserve(one.id, chance.randrange(40))
                    elif one.phase is Phase.RECEIVING and await catalogue.declare(one.id, 15):
                        living[living.index(one)] = msgspec.structs.replace(one, size_bytes=15)
            case "change" if living:
                one = chance.choice(living)
                run = one.run + 1
                after = msgspec.structs.replace(
                    one, phase=chance.choice(STEPS), run=run, size_bytes=5 if one.size_bytes is None else one.size_bytes
                )
                if await catalogue.change(one, after):
                    living[living.index(one)] = after
                if not after.phase.holds_bytes:
                    living.remove(after)
            case _:
                continue
        await account(catalogue)
        if number % 40 == 0:
            await catalogue.usages.count_anew()


async def attempt(living: list[Upload], catalogue: Catalogue, **fields: Any) -> None:
    with suppress(QuotaExceeded, TooMany):
        living.append(await entered(catalogue, **fields))


# --- through the way in -----------------------------------------------------------------------------------------------


def limited(folder: Path, **options: Any) -> AbstractAsyncContextManager[WayIn]:
    return way_in(folder, allowances=LIMITED, **options)


async def test_nothing_is_left_of_an_upload_that_was_refused(tmp_path: Path) -> None:
    async with limited(tmp_path) as parts:
        with pytest.raises(QuotaExceeded):
            await parts.receiver.create("a", size_bytes=101, space="lab")
        assert await parts.blobs.staged() == []
        assert (await parts.catalogue.list()).uploads == []


async def test_a_race_leaves_no_bytes_either(tmp_path: Path) -> None:
    async with limited(tmp_path) as parts:
        wanted = [parts.receiver.create("a", size_bytes=30, space="lab") for _ in range(20)]
        results = await asyncio.gather(*wanted, return_exceptions=True)
        assert sum(isinstance(result, QuotaExceeded) for result in results) == 17
        assert len(await parts.blobs.staged()) == 3


async def test_bytes_of_an_unknown_number_are_counted_as_they_come(tmp_path: Path) -> None:
    async with limited(tmp_path) as parts:
        upload = (await parts.receiver.create("a", size_bytes=None, space="lab")).upload
        await parts.receiver.receive(upload.id, 0, body(b"x" * 60), length=None)
        with pytest.raises(QuotaExceeded):
            await parts.receiver.receive(upload.id, 60, body(b"x" * 40, b"y"), length=None)
        assert await parts.receiver.offset(upload.id) == 100
        assert await account(parts) == (0, 100, 1)
        await parts.receiver.terminate(upload.id)
        assert await account(parts) == (0, 0, 0)


async def test_what_was_counted_ahead_is_right_once_the_end_is_known(tmp_path: Path) -> None:
    roomy = Allowances(spaces={"lab": Allowance(quota_bytes=100 * MIB)})
    async with way_in(tmp_path, allowances=roomy) as parts:
        upload = (await parts.receiver.create("a", size_bytes=None, space="lab")).upload
        await parts.receiver.receive(upload.id, 0, body(b"x" * MIB), length=None)
        [usage] = [one.account for one in await parts.usages.of_named()]
        assert usage.reserved_bytes > MIB
        await parts.receiver.receive(upload.id, MIB, body(b"x"), length=None, ends_upload=True)
        [usage] = [one.account for one in await parts.usages.of_named()]
        assert usage == (MIB + 1, 0, 0)


async def test_a_final_and_its_parts_count_once(tmp_path: Path) -> None:
    async with limited(tmp_path) as parts:
        ids = []
        for _ in range(2):
            part = (await parts.receiver.create("a", size_bytes=40, space="lab", concat="partial")).upload.id
            await parts.receiver.receive(part, 0, body(b"x" * 40), length=40)
            ids.append(part)
        assert await account(parts) == (0, 80, 2)
        named = "final;" + " ".join(f"/uploads/{part}" for part in ids)
        final = (await parts.receiver.create("a", size_bytes=None, space="lab", concat=named)).upload
        assert await account(parts) == (80, 0, 0)
        with pytest.raises(QuotaExceeded):
            await parts.receiver.create("b", size_bytes=21, space="lab")
        await parts.receiver.terminate(final.id)
        assert await account(parts) == (0, 80, 2)
        for part in ids:
            await parts.receiver.terminate(part)
        assert await account(parts) == (0, 0, 0)


async def test_a_final_that_was_rejected_and_its_parts_count_once_again(tmp_path: Path) -> None:
    async with limited(tmp_path) as parts:
        part = (await parts.receiver.create("a", size_bytes=40, space="lab", concat="partial")).upload.id
        await parts.receiver.receive(part, 0, body(b"x" * 40), length=40)
        final = (await parts.receiver.create("a", size_bytes=None, space="lab", concat=f"final;/uploads/{part}")).upload
        rejected = await become(parts.catalogue, final, Phase.REJECTED)
        assert await account(parts) == (0, 40, 1)
        restarted = await parts.gateway.restart(rejected.id)
        assert await account(parts) == (40, 0, 0)
        await become(parts.catalogue, restarted, Phase.DELETED)
        assert await account(parts) == (0, 40, 1)


async def test_parts_that_expire_after_their_final_change_nothing(tmp_path: Path) -> None:
    async with limited(tmp_path) as parts:
        part = (await parts.receiver.create("a", size_bytes=40, space="lab", concat="partial")).upload
        await parts.receiver.receive(part.id, 0, body(b"x" * 40), length=40)
        await parts.receiver.create("a", size_bytes=None, space="lab", concat=f"final;/uploads/{part.id}")
        await parts.clock.advance(timedelta(days=1))
        assert await parts.receiver.expire(part)
        assert await account(parts) == (40, 0, 0)


async def test_an_interrupted_upload_keeps_its_reservation_until_it_expires(tmp_path: Path) -> None:
    async with limited(tmp_path) as parts:
        upload = (await parts.receiver.create("a", size_bytes=90, space="lab")).upload
        with pytest.raises(Exception, match="gone"):
            await parts.receiver.receive(upload.id, 0, cut(b"x" * 20), length=90)
        assert await account(parts) == (0, 90, 1)
    async with limited(tmp_path) as parts:
        await parts.usages.count_anew()
        assert await account(parts) == (0, 90, 1)
        await parts.clock.advance(timedelta(days=1))
        assert await parts.receiver.expire(upload)
        assert await account(parts) == (0, 0, 0)
