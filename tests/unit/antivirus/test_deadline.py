"""Giving up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from penstock.antivirus import ScanTimeout
from penstock.antivirus.deadline import give_up_after


async def test_the_end_says_what_was_waited_for_and_how_long() -> None:
    with pytest.raises(ScanTimeout, match=r"0\.01 s of waiting for a miracle"):
        async with give_up_after(timedelta(seconds=0.01), "a miracle"):
            await asyncio.Event().wait()


async def test_what_is_in_time_is_left_alone() -> None:
    async with give_up_after(timedelta(seconds=60), "nothing"):
        await asyncio.sleep(0)
    async with give_up_after(None, "nothing"):
        await asyncio.sleep(0)


@pytest.mark.parametrize("allowed", [None, timedelta(seconds=60)])
async def test_a_timeout_of_something_else_passes_through(allowed: timedelta | None) -> None:
    with pytest.raises(TimeoutError, match="the other one"):
        async with give_up_after(allowed, "nothing"):
            raise TimeoutError("the other one")
