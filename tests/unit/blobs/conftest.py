"""A bucket of its own for each test, and what makes trouble on the way to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.unruly import UnrulyServer, unruly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.s3 import S3Server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return s3.new_bucket()


@pytest.fixture
async def proxy(s3: S3Server) -> AsyncIterator[UnrulyServer]:
    async with unruly(s3.endpoint) as server:
        yield server
