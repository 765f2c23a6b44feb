"""A clock for code that only pauses before it tries again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class HastyClock:
    """Time passes only by waiting, and then at once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, duration: timedelta) -> None:
        self.pauses.append(duration.total_seconds())
        self.seconds += duration.total_seconds()
        await asyncio.sleep(0)
