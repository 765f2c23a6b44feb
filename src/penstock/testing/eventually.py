"""Waiting for something without sleeping for a guessed time."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FIRST_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.05


@overload
async def eventually(check: Callable[[], Awaitable[T]], *, timeout_seconds: float = 60.0) -> T: ...
@overload
async def eventually(check: Callable[[], T], *, timeout_seconds: float = 60.0) -> T: ...
async def eventually(check: Callable[[], Any], *, timeout_seconds: float = 60.0) -> Any:
    """Call `check` again and again until it returns something true, and return that.

    What is false (None, 0, empty) and what raises AssertionError means "not yet". `check` may be a coroutine function.

    Raises:
        AssertionError: `timeout_seconds` of real time have passed; says what `check` returned or raised last.
    """
    ends_at = time.monotonic() + timeout_seconds
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            value = check()
            result = await value if inspect.isawaitable(value) else value
            if result:
                return result
            last, cause = f"it last returned {result!r}", None
        except AssertionError as error:
            last, cause = f"it last failed with: {error}", error
        if time.monotonic() >= ends_at:
            raise AssertionError(f"not within {timeout_seconds} s; {last}") from cause
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
