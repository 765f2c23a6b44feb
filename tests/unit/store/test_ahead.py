"""Reading ahead: in order, one page further than what is worked on, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from penstock.store.ahead import ahead, in_turns
from penstock.testing import eventually


class Pages:
    """Pages that tell how many were asked for, and whether they were closed."""

    def __init__(self, count: int, *, broken_after: int | None = None) -> None:
        self.asked, self.running = 0, 0
        self._count, self._broken_after = count, broken_after

    async def __call__(self) -> AsyncIterator[int]:
        for number in range(self._count):
            self.asked += 1
            if number == self._broken_after:
                raise ValueError("broken")
            self.running += 1
            try:
                await asyncio.sleep(0)
            finally:
                self.running -= 1
            yield number


async def test_all_pages_come_in_their_order() -> None:
    assert [page async for page in ahead(Pages(5)())] == [0, 1, 2, 3, 4]
    assert [page async for page in ahead(Pages(0)())] == []


async def test_the_next_page_is_read_meanwhile_and_no_more() -> None:
    pages = Pages(5)
    async with aclosing(ahead(pages())) as walk:
        assert await anext(walk) == 0
        await eventually(lambda: pages.asked == 2 and not pages.running)
        assert await anext(walk) == 1
        await eventually(lambda: pages.asked == 3 and not pages.running)


async def test_an_error_comes_after_the_pages_before_it() -> None:
    async with aclosing(ahead(Pages(5, broken_after=2)())) as walk:
        assert [await anext(walk), await anext(walk)] == [0, 1]
        with pytest.raises(ValueError, match="broken"):
            await anext(walk)


@pytest.mark.parametrize("broken_after", [None, 1])
async def test_nothing_runs_on_when_the_walk_is_given_up(broken_after: int | None) -> None:
    before = asyncio.all_tasks()
    async with aclosing(ahead(Pages(5, broken_after=broken_after)())) as walk:
        assert await anext(walk) == 0
    assert asyncio.all_tasks() == before


async def test_several_walks_take_turns_until_the_longest_ends() -> None:
    assert [page async for page in in_turns(Pages(3)(), Pages(1)(), Pages(2)())] == [0, 0, 0, 1, 1, 2]
    none: list[AsyncIterator[int]] = []
    assert [page async for page in in_turns(*none)] == []


async def test_each_of_several_walks_is_read_ahead_and_ends_with_the_first_that_breaks() -> None:
    before = asyncio.all_tasks()
    whole, broken = Pages(5), Pages(5, broken_after=1)
    async with aclosing(in_turns(whole(), broken())) as walk:
        assert [await anext(walk), await anext(walk)] == [0, 0]
        await eventually(lambda: (whole.asked, broken.asked) == (2, 2))
        assert await anext(walk) == 1
        with pytest.raises(ValueError, match="broken"):
            await anext(walk)
    assert asyncio.all_tasks() == before
