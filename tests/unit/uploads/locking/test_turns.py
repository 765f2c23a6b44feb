"""Who works on an upload waits for those who came before, and for nobody else."""

from __future__ import annotations

import asyncio

import pytest

from penstock.uploads.locking.turns import Turns


async def test_one_after_the_other_in_the_order_of_asking() -> None:
    turns, order = Turns(), list[str]()

    async def work(name: str) -> None:
        async with turns.of("upload"):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(*(work(name) for name in "abc"))
    assert order == ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]


async def test_different_uploads_do_not_wait_for_each_other() -> None:
    turns = Turns()
    async with turns.of("one"), asyncio.timeout(60), turns.of("other"):
        assert len(turns) == 2


async def test_nothing_stays_behind_however_it_ends() -> None:
    turns = Turns()

    async def waits() -> None:
        async with turns.of("upload"):
            pass

    async def fails() -> None:
        async with turns.of("upload"):
            await asyncio.sleep(0)
            raise LookupError

    failing, cancelled, waiting = (asyncio.create_task(one()) for one in (fails, waits, waits))
    await asyncio.sleep(0)
    cancelled.cancel()
    await waiting
    with pytest.raises(LookupError):
        await failing
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert len(turns) == 0
