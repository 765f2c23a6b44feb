from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.db import Database
from penstock.delivery.sending.claims import Claim, TokenUsed
from penstock.delivery.sending.ledger import Ledger
from penstock.delivery.sending.once import Once, joined

CLAIM = Claim("a" * 32, "start", "ocr")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with Database(f"sqlite:///{tmp_path / 'x.db'}") as database:
        yield Ledger(database)


async def test_an_address_dies_when_all_was_read_in_whatever_ranges(ledger: Ledger) -> None:
    once = Once(ledger)
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
        await Once(ledger).check(CLAIM)
    await Once(ledger).check(CLAIM._replace(start_id="another"))


async def test_an_empty_file_is_read_by_one_request(ledger: Ledger) -> None:
    once = Once(ledger)
    await once.note(CLAIM, 0, 0, 0)
    assert once.is_used_up(CLAIM)


def test_ranges_that_touch_are_one() -> None:
    assert joined([(5, 7), (0, 3), (3, 5), (9, 9), (8, 10)]) == [(0, 7), (8, 10)]
