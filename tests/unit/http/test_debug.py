from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from penstock.health import Check
from penstock.http.debug import build_debug
from penstock.telemetry import Metrics


class Service:
    """A service that is as the test says."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.found = [Check("store", ok=True, gates=True)]

    async def checks(self) -> list[Check]:
        return self.found

    async def look_up(self) -> None:
        self.metrics.stalled.set(7)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_debug(service, "s3cret"))
    async with httpx.AsyncClient(transport=transport, base_url="http://debug") as opened:
        yield opened


async def test_it_is_alive_and_ready_without_a_token(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await client.get(path)).status_code == 200


async def test_not_being_ready_says_why_and_what_to_do(client: httpx.AsyncClient, service: Service) -> None:
    service.found = [
        Check("store", ok=False, detail="redis does not answer.", hint="Start it.", gates=True),
        Check("stalled", ok=False, detail="3 wait."),
    ]
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "store: redis does not answer. Start it.\n")
    assert (await client.get("/healthz")).status_code == 200


async def test_who_is_ready_tells_what_is_wrong_all_the_same(client: httpx.AsyncClient, service: Service) -> None:
    service.found = [
        Check("store", ok=True, detail="It answers."),
        Check("set-aside", ok=False, detail="3 events are set aside.", hint="List them."),
    ]
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.text) == (200, "OK\nset-aside: 3 events are set aside. List them.\n")


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "s3cret", "Basic s3cret", "Bearer s3cret2"])
@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
async def test_metrics_are_for_who_has_the_token(client: httpx.AsyncClient, given: str, path: str) -> None:
    answer = await client.get(path, headers={"Authorization": given})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "penstock" not in answer.text


async def test_metrics_are_looked_up_when_they_are_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics", headers={"Authorization": "Bearer s3cret"})
    assert answer.status_code == 200
    assert "penstock_stalled_uploads 7.0" in answer.text


async def test_without_a_token_metrics_are_for_everybody(service: Service) -> None:
    transport = httpx.ASGITransport(build_debug(service, ""))
    async with httpx.AsyncClient(transport=transport, base_url="http://debug") as opened:
        assert (await opened.get("/metrics")).status_code == 200
        assert (await opened.get("/docs")).status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/healthz/", "/metrics"])
async def test_head_answers_without_a_body(service: Service, path: str) -> None:
    transport = httpx.ASGITransport(build_debug(service, ""))
    async with httpx.AsyncClient(transport=transport, base_url="http://debug") as opened:
        answer = await opened.head(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.content == b""


async def test_what_is_not_there_says_what_is(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 404
    assert "/healthz, /readyz, /metrics" in answer.text


async def test_nothing_can_be_changed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/readyz")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
