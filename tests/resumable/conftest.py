"""One server on each storage; what is complete is released at once, and so can be read back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

import httpx
import pytest

from tests.servers.penstock import PenstockServer
from tests.servers.stores import STORES, settings_on
from tests.tus.client import Client

MAX_SIZE = 8 * 1024 * 1024


@pytest.fixture(scope="session", params=STORES)
def resumable_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PenstockServer]:
    environment = {"PENSTOCK_ASYNC_UPLOADS": "false", "PENSTOCK_MAX_SIZE": str(MAX_SIZE)}
    folder = tmp_path_factory.mktemp("resumable")
    with PenstockServer(folder, **environment, **settings_on(request.param, request)) as running:
        yield running


@pytest.fixture
def storage(request: pytest.FixtureRequest, resumable_server: PenstockServer) -> str:
    """Which of the storages the server has."""
    del resumable_server
    kind: str = request.node.callspec.params["resumable_server"]
    return kind


@pytest.fixture
def client(resumable_server: PenstockServer) -> Client:
    return Client(resumable_server.port)


class Released(Protocol):
    def __call__(self, location: str) -> tuple[str, bytes]: ...


@pytest.fixture
def released(resumable_server: PenstockServer) -> Released:
    """Name and bytes of a complete upload, once it is released, by the address of its upload resource."""

    def read(location: str) -> tuple[str, bytes]:
        upload_id = location.rpartition("/")[2]
        ends_at = time.monotonic() + 60
        with httpx.Client(base_url=f"{resumable_server.url}/api/v1") as http:
            while (answer := http.get(f"/files/{upload_id}/content")).status_code == 425:
                assert time.monotonic() < ends_at, f"{location} is not released"
            name: str = http.get(f"/uploads/{upload_id}").json()["filename"]
            return name, answer.raise_for_status().content

    return read
