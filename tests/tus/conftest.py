"""One server on each storage for all requirements: what is complete is released at once, and so can be read back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol

import httpx
import pytest

from penstock.testing import eventually
from tests.servers.penstock import PenstockServer
from tests.servers.stores import STORES, settings_on
from tests.tus.client import Client

MAX_SIZE = 8 * 1024 * 1024
PROXY = "127.0.0.2"
"""The address of this machine that the server takes for that of its proxy."""


@pytest.fixture(scope="session", params=STORES)
def tus_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    environment = {
        "PENSTOCK_ASYNC_UPLOADS": "false",
        "PENSTOCK_MAX_SIZE": str(MAX_SIZE),
        "PENSTOCK_TRUSTED_PROXIES": PROXY,
        "PENSTOCK_ALLOWED_HOSTS": "*",
    }
    folder = tmp_path_factory.mktemp("tus")
    with PenstockServer(folder, **environment, **settings_on(request.param, request)) as running:
        yield running


@pytest.fixture
def client(tus_server: PenstockServer) -> Client:
    return Client(tus_server.port)


@pytest.fixture
def proxy(tus_server: PenstockServer) -> Client:
    return Client(tus_server.port, PROXY)


class Show(Protocol):
    def __call__(self, path: str) -> dict[str, object]: ...


class Content(Protocol):
    def __call__(self, path: str) -> bytes: ...


@pytest.fixture
def show(tus_server: PenstockServer) -> Show:
    """What the server's own interface says of an upload, by its tus path."""

    def look(path: str) -> dict[str, object]:
        found: dict[str, object] = httpx.get(f"{tus_server.url}/api/v1{path}").raise_for_status().json()
        return found

    return look


@pytest.fixture
def content(tus_server: PenstockServer) -> Content:
    """The bytes of a complete upload, once it is released."""

    def read(path: str) -> bytes:
        address = f"{tus_server.url}/api/v1/files/{path.rpartition('/')[2]}/content"

        def released() -> httpx.Response | None:
            answer = httpx.get(address)
            return None if answer.status_code == 425 else answer.raise_for_status()

        found = asyncio.run(eventually(released, timeout_seconds=60))
        assert found is not None
        return found.content

    return read
