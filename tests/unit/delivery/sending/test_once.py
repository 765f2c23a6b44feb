from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from penstock.core.emit import awaited_id
from penstock.core.progress import Progress, Status
from penstock.db import Database
from penstock.delivery.sending.claims import Claim, TokenUsed
from penstock.delivery.sending.ledger import Ledger
from penstock.delivery.sending.once import Once, joined
from penstock.store.memory import MemoryStore
from penstock.testing import eventually

UPLOAD = "a" * 32
PROGRESS = Progress(upload_id=UPLOAD, status=Status("ocr"), steps=("ocr", "thumbs"))
CLAIM = Claim(UPLOAD, awaited_id(PROGRESS), "ocr")
LATER = msgspec.structs.replace(PROGRESS, status=Status("thumbs"))


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with Database(f"sqlite:///{tmp_path / 'x.db'}") as database:
        yield Ledger(database)


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    async with MemoryStore() as store:
        await store.save(PROGRESS, expected=None)
        yield store


async def go_on(store: MemoryStore, ledger: Ledger) -> str:
    """Have the step answered, and the next one started; return its start's ID."""
    saved = await store.get(UPLOAD)
    assert saved is not None
    await store.save(LATER, expected=saved.revision)
    await ledger.note(UPLOAD, awaited_id(LATER), "https://worker/x")
    return awaited_id(LATER)


async def test_an_address_dies_when_all_was_read_in_whatever_ranges(ledger: Ledger, store: MemoryStore) -> None:
    once = Once(ledger, store)
    for start, stop in ((0, 40), (0, 60), (80, 100), (60, 79)):
        await once.note(CLAIM, start, stop, 100)
        await once.check(CLAIM)
    await once.note(CLAIM, 70, 90, 100)
    with pytest.raises(TokenUsed, match="good for one reading"):
        await once.check(CLAIM)
    await once.note(CLAIM, 0, 1, 100)
    assert once.is_used_up(CLAIM)
    # A restart and another instance know it; another attempt has its own.
    with pytest.raises(TokenUsed):
        await Once(ledger, store).check(CLAIM)
    await Once(ledger, store).check(CLAIM._replace(start_id="another"))


async def test_who_hears_that_an_address_is_used_up_would_hear_so_after_a_kill(
    ledger: Ledger, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, noted, gate = Once(ledger, store), ledger.use_up, asyncio.Event()

    async def late(upload_id: str, start_id: str, *, instead_of: str | None) -> bool:
        await gate.wait()
        return await noted(upload_id, start_id, instead_of=instead_of)

    monkeypatch.setattr(ledger, "use_up", late)
    reading = asyncio.create_task(once.note(CLAIM, 0, 1, 1))
    await eventually(lambda: once.is_used_up(CLAIM))
    asking = asyncio.create_task(once.check(CLAIM))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not asking.done()
    gate.set()
    with pytest.raises(TokenUsed):
        await asking
    with pytest.raises(TokenUsed):
        await Once(ledger, store).check(CLAIM)
    await reading


async def test_it_takes_the_place_of_what_was_said_of_an_earlier_step(ledger: Ledger, store: MemoryStore) -> None:
    await ledger.note(UPLOAD, "an earlier start", "https://worker/y")
    await Once(ledger, store).note(CLAIM, 0, 100, 100)
    with pytest.raises(TokenUsed):
        await Once(ledger, store).check(CLAIM)


async def test_what_is_noted_late_does_not_hide_that_a_later_step_was_started(
    ledger: Ledger, store: MemoryStore
) -> None:
    """Or a restart would deliver to it again."""
    later = await go_on(store, ledger)
    once = Once(ledger, store)
    await once.note(CLAIM, 0, 100, 100)
    assert await ledger.address(UPLOAD, later) == "https://worker/x"
    assert once.is_used_up(CLAIM)


@pytest.mark.parametrize("noted", [True, False], ids=["with a line of before", "without"])
async def test_nor_does_it_when_the_step_is_answered_at_that_moment(
    ledger: Ledger, store: MemoryStore, *, noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if noted:
        await ledger.note(UPLOAD, "an earlier start", "https://worker/y")
    use_up, later = ledger.use_up, list[str]()

    async def overtaken(upload_id: str, start_id: str, *, instead_of: str | None) -> bool:
        later.append(await go_on(store, ledger))
        return await use_up(upload_id, start_id, instead_of=instead_of)

    monkeypatch.setattr(ledger, "use_up", overtaken)
    await Once(ledger, store).note(CLAIM, 0, 100, 100)
    assert [await ledger.address(UPLOAD, start_id) for start_id in later] == ["https://worker/x"]


async def test_an_empty_file_is_read_by_one_request(ledger: Ledger, store: MemoryStore) -> None:
    once = Once(ledger, store)
    await once.note(CLAIM, 0, 0, 0)
    assert once.is_used_up(CLAIM)


def test_ranges_that_touch_are_one() -> None:
    assert joined([(5, 7), (0, 3), (3, 5), (9, 9), (8, 10)]) == [(0, 7), (8, 10)]
