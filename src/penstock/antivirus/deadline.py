"""A limit in time whose end says what was waited for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .base import ScanTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta


@asynccontextmanager
async def give_up_after(allowed: timedelta | None, waiting_for: str) -> AsyncIterator[None]:
    """Cancel what runs inside when `allowed` (None: any time) is over, and raise `ScanTimeout`.

    A `TimeoutError` from inside that has another cause passes through.
    """
    limit = asyncio.timeout(None if allowed is None else allowed.total_seconds())
    try:
        async with limit:
            yield
    except TimeoutError as err:
        if allowed is None or not limit.expired():
            raise
        raise ScanTimeout(f"gave up after {allowed.total_seconds():g} s of waiting for {waiting_for}") from err
