"""For tests of what waits with a limit in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

import pytest

LetPass: TypeAlias = Callable[[float], None]


@pytest.fixture
async def let_pass(monkeypatch: pytest.MonkeyPatch) -> LetPass:
    """Sets the event loop's time forward by so many seconds, from any thread: whoever waits has waited so much longer.

    A limit may then be as long as the slowest machine could need, and passes at once all the same.
    """
    loop = asyncio.get_running_loop()
    time, passed = loop.time, 0.0

    def let_pass(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        loop.call_soon_threadsafe(lambda: None)  # it may sleep for as long as it believed to have

    monkeypatch.setattr(loop, "time", lambda: time() + passed)
    return let_pass
