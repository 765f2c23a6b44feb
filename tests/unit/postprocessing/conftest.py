from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from penstock.bus.local import LocalBus
from penstock.events.types import PostprocessingFinished, StartPostprocessingStep
from penstock.testing import ManualClock

from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(LocalBus(clock))
        made = World(clock, bus)
        types = (StartPostprocessingStep, PostprocessingFinished)
        await stack.enter_async_context(bus.subscribe("listener", types, made.hear, workers=1))
        yield made
