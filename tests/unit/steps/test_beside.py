"""Watchers over work: they end with it, and one that fails is told of."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from penstock.steps.beside import beside


async def watch(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("watch")


async def fail() -> None:
    raise RuntimeError("a mistake")


async def test_watchers_end_with_the_work() -> None:
    ended = list[str]()
    with capture_logs() as logs:
        async with beside("u", watch(ended), watch(ended)):
            await asyncio.sleep(0)
            assert not ended
    assert ended == ["watch", "watch"]
    assert not logs


async def test_one_that_fails_is_told_of_at_once_and_the_work_goes_on() -> None:
    ended = list[str]()
    with capture_logs() as logs:
        async with beside("u", fail(), watch(ended)):
            for _ in range(3):
                await asyncio.sleep(0)
            (told,) = logs
            assert not ended
    assert (told["event"], told["upload"], told["watcher"]) == ("step_watcher_failed", "u", "fail")
    assert (told["log_level"], str(told["exc_info"])) == ("error", "a mistake")
    assert ended == ["watch"]


async def test_what_goes_wrong_comes_out_as_it_is() -> None:
    with capture_logs() as logs, pytest.raises(ValueError, match="x"):
        async with beside("u", watch([])):
            raise ValueError("x")
    assert not logs
