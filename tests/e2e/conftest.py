"""What stands around services: real NATS and clamd, a storage, who says start events, and who looks at pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.servers.chromium import running_chromium
from tests.servers.clamd import Clamd, running_clamd
from tests.servers.nats import NatsServer, running_nats
from tests.servers.storage import Storage, running_storage
from tests.wire.scanning import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.servers.penstock import PenstockServer

expect.set_options(timeout=60_000)  # as everything here, pages take longer on a busy machine


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    (tmp_path / "nats").mkdir()
    with running_nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def clamd(tmp_path: Path) -> Iterator[Clamd]:
    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd") as server:
        yield server


@pytest.fixture
def storage() -> Iterator[Storage]:
    with running_storage() as running:
        yield running


@pytest.fixture
async def platform(nats: NatsServer) -> AsyncIterator[Platform]:
    async with Platform(nats.endpoint) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, server: PenstockServer) -> Iterator[Page]:
    """The page of a file's own `server`, on which no script may fail."""
    opened = browser.new_page()
    opened.set_default_timeout(60_000)
    failures: list[str] = []
    opened.on("pageerror", lambda error: failures.append(str(error)))
    opened.goto(server.url)
    expect(opened.locator("#connection")).to_have_text("live")
    yield opened
    opened.close()
    assert not failures
