from __future__ import annotations

import asyncio
import threading

import pytest

from penstock.testing import eventually
from penstock.threads import to_its_end, to_the_end


async def test_it_returns_when_the_work_is_done() -> None:
    done = list[str]()
    await to_its_end(done.append, "work")
    assert done == ["work"]
    assert await to_its_end(int, "7") == 7


async def test_what_fails_has_failed() -> None:
    with pytest.raises(ValueError, match="x"):
        await to_its_end(int, "x")


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_waits_for_the_thread_however_often(*, fails: bool) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(60)
        ended.set()
        if fails:
            raise OSError("the disk is full")

    working = asyncio.ensure_future(to_its_end(work))
    await eventually(begun.is_set)
    for _ in range(3):
        working.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not working.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()


async def test_any_work_is_waited_for_and_one_that_is_done_costs_no_turn() -> None:
    work = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(to_the_end(work))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    work.set_result("bytes")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await to_the_end(work) == "bytes"
