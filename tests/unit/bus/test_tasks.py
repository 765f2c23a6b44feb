"""Tasks that end with their context."""

from __future__ import annotations

import asyncio

import pytest

from penstock.bus.tasks import owned_tasks


class Died(BaseException):
    """Ends a task the hard way."""


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_leaving_ends_the_tasks() -> None:
    before = asyncio.all_tasks()
    async with owned_tasks() as tasks:
        tasks.start(for_ever())
        tasks.start(asyncio.sleep(0))
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) > len(before)
    assert asyncio.all_tasks() == before


async def test_an_error_of_the_body_comes_out_as_it_is_after_the_tasks_have_ended() -> None:
    async def body() -> None:
        async with owned_tasks() as tasks:
            tasks.start(for_ever())
            raise KeyError("body")

    before = asyncio.all_tasks()
    with pytest.raises(KeyError, match="body"):
        await body()
    assert asyncio.all_tasks() == before


async def test_a_task_that_dies_ends_the_body() -> None:
    async def dies() -> None:
        raise Died

    async def body() -> None:
        async with owned_tasks() as tasks:
            tasks.start(dies())
            await for_ever()

    with pytest.raises(BaseExceptionGroup) as raised:
        await body()
    assert [type(error) for error in raised.value.exceptions] == [Died]


async def test_a_cancellation_of_the_body_passes_through() -> None:
    entered = asyncio.Event()

    async def body() -> None:
        async with owned_tasks() as tasks:
            tasks.start(for_ever())
            entered.set()
            await for_ever()

    task = asyncio.create_task(body())
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
