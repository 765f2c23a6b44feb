"""Waiting without guessing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from penstock.testing import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


async def test_returns_the_first_true_value() -> None:
    values: Iterator[object] = iter([None, 0, "", [], "found", "later"])
    assert await eventually(lambda: next(values)) == "found"


async def test_waits_for_a_coroutine_function() -> None:
    counter = itertools.count()

    async def check() -> bool:
        return next(counter) == 3

    assert await eventually(check)


async def test_a_failed_assertion_means_not_yet() -> None:
    counter = itertools.count()

    def check() -> bool:
        assert next(counter) == 3
        return True

    assert await eventually(check)


async def test_says_what_it_saw_last_when_time_is_up() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.01 s; it last returned 0"):
        await eventually(lambda: 0, timeout_seconds=0.01)


async def test_says_which_assertion_failed_last_when_time_is_up() -> None:
    def check() -> bool:
        raise AssertionError("three is not four")

    with pytest.raises(AssertionError, match="three is not four"):
        await eventually(check, timeout_seconds=0.01)


async def test_other_errors_pass_through_at_once() -> None:
    def check() -> bool:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await eventually(check)
