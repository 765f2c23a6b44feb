from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, MutableMapping
from typing import Any

import httpx
import msgspec
import pytest

from penstock.core.progress import Progress, Status
from penstock.errors import Unavailable
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


class Keeper(Service):
    """A service that tells what it works on."""

    is_away = False
    count = 3

    async def records(self, upload_id: str | None, step: str | None) -> AsyncGenerator[Progress, None]:
        if self.is_away:
            raise Unavailable("the store is away")
        for number in range(self.count):
            if upload_id in (None, str(number)) and step in (None, "ocr"):
                yield Progress(upload_id=str(number), filename="a\x85b\u2028c.pdf", status=Status("ocr"))


@pytest.mark.parametrize(
    ("token", "given", "client", "status"),
    [
        ("", "", ("127.0.0.1", 1), 200),
        ("", "", ("::1", 1), 200),
        ("", "", ("192.0.2.7", 1), 403),
        ("", "", None, 403),
        ("", "", ("", 0), 403),
        ("s3cret", "Bearer s3cret", ("192.0.2.7", 1), 200),
        ("s3cret", "Bearer wrong", ("127.0.0.1", 1), 401),
        ("s3cret", "", ("127.0.0.1", 1), 401),
    ],
)
async def test_records_are_for_who_has_the_token_or_is_on_the_same_machine(
    token: str, given: str, client: tuple[str, int], status: int
) -> None:
    transport = httpx.ASGITransport(build_debug(Keeper(), token), client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as opened:
        answer = await opened.get("/records", headers={"Authorization": given})
    assert (answer.status_code, ".pdf" in answer.text) == (status, status == 200)


async def test_records_are_not_for_pages_that_have_their_name_point_here() -> None:
    transport = httpx.ASGITransport(build_debug(Keeper(), ""), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://evil.example:9255") as opened:
        assert (await opened.get("/records")).status_code == 403


@pytest.mark.parametrize(
    ("query", "found"),
    [("", ["0", "1", "2"]), ("?id=1", ["1"]), ("?id=9", []), ("?step=ocr", ["0", "1", "2"]), ("?step=none", [])],
)
async def test_records_are_a_line_each(query: str, found: list[str]) -> None:
    transport = httpx.ASGITransport(build_debug(Keeper(), ""))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as opened:
        answer = await opened.get(f"/records{query}")
        head = await opened.head(f"/records{query}")
    assert [msgspec.json.decode(line)["ID"] for line in answer.content.split(b"\n")[:-1]] == found
    assert (head.status_code, head.content) == (200, b"")


async def test_many_records_come_in_pieces() -> None:
    keeper = Keeper()
    keeper.count = 1000
    sizes = list[int]()

    async def send(message: MutableMapping[str, Any]) -> None:
        sizes.append(len(message.get("body", b"")))

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("there is no body to receive")

    scope = {"type": "http", "method": "GET", "path": "/records", "headers": [], "client": ("127.0.0.1", 1)}
    await build_debug(keeper, "")(scope, receive, send)
    assert sum(sizes) > 400_000
    assert max(sizes) < 70_000


async def test_records_that_nobody_can_tell_of_now(service: Service) -> None:
    keeper = Keeper()
    keeper.is_away = True
    transport = httpx.ASGITransport(build_debug(keeper, ""))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as opened:
        answer = await opened.get("/records")
    assert (answer.status_code, answer.text) == (503, "the store is away\n")
    transport = httpx.ASGITransport(build_debug(service, ""))
    async with httpx.AsyncClient(transport=transport, base_url="http://debug") as opened:
        assert (await opened.get("/records")).status_code == 404
