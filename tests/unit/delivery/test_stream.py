from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from penstock.delivery import body
from penstock.delivery.base import BytesGone, BytesUnavailable, DeliveryRefused
from penstock.delivery.stream import StreamDelivery
from penstock.events.types import StartPostprocessingStep
from tests.servers.storage import Page, Storage, running_storage
from tests.unit.conftest import LetPass

BODY = bytes(range(256)) * 4000


@pytest.fixture
def storage() -> Iterator[Storage]:
    with running_storage() as running:
        yield running


def start(url: str, size_bytes: int = len(BODY), upload_id: str = "u") -> StartPostprocessingStep:
    return StartPostprocessingStep(
        upload_id=upload_id, url=url, filesize=size_bytes, token="one", reva_token="two", step_to_start="s"
    )


async def read(event: StartPostprocessingStep, **part: Any) -> bytes:
    async with StreamDelivery() as delivery, delivery.deliver(event) as delivered:
        return b"".join([piece async for piece in delivered.stream(**part)])


async def test_bytes_are_asked_for_when_they_are_read_and_not_before(storage: Storage) -> None:
    async with StreamDelivery() as delivery, delivery.deliver(start(storage.put("/a", BODY))) as delivered:
        assert (delivered.is_file, delivered.size_bytes) == (False, len(BODY))
        with pytest.raises(BytesUnavailable, match="no file"):
            _ = delivered.path
        assert not storage.requests
        for _ in range(2):
            assert b"".join([piece async for piece in delivered.stream()]) == BODY
    assert len(storage.requests) == 2


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize(("begin", "end"), [(0, 10), (300, 70_000), (1_023_990, None), (5, 5), (0, 10**9)])
async def test_a_part_is_exactly_that_part(storage: Storage, begin: int, end: int | None, *, ranges: bool) -> None:
    url = storage.put("/a", BODY, ranges=ranges)
    assert await read(start(url), start=begin, stop=end) == BODY[begin:end]


@pytest.mark.parametrize(
    ("page", "announced", "message"),
    [
        ({"cut_at": 1000}, len(BODY), "did not deliver"),
        ({}, len(BODY) - 1, "delivered more than"),
        ({}, len(BODY) + 1, "delivered 1024000 bytes, but the upload has 1024001"),
        ({"status": 401}, len(BODY), "answered 401"),
        ({"status": 302, "headers": {"Location": "/a"}}, len(BODY), "from one address to the next"),
        ({"status": 302, "headers": {"Location": "gopher://x"}}, len(BODY), "did not deliver"),
    ],
)
async def test_other_bytes_than_announced_are_an_error(
    storage: Storage, page: dict[str, Any], announced: int, message: str
) -> None:
    with pytest.raises(BytesUnavailable, match=message):
        await read(start(storage.put("/a", BODY, **page), announced))


async def test_a_part_that_begins_elsewhere_is_an_error(storage: Storage) -> None:
    url = storage.put("/a", BODY, status=206, headers={"Content-Range": f"bytes 5-9/{len(BODY)}"})
    with pytest.raises(BytesUnavailable, match="not what it was asked for"):
        await read(start(url), start=0, stop=5)


async def test_the_error_names_the_server_and_no_token() -> None:
    with pytest.raises(BytesUnavailable, match=r"127\.0\.0\.1:1 did not deliver") as raised:
        await read(start("http://127.0.0.1:1/secret"))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "http://[x/"])
async def test_only_web_addresses_are_asked(url: str) -> None:
    with pytest.raises(DeliveryRefused):
        await read(start(url))


async def test_tokens_go_with_a_scan_on_demand_only(storage: Storage) -> None:
    url = storage.put("/a", BODY)
    for upload_id in ("", "u"):
        await read(start(url, upload_id=upload_id))
    sent = [(headers.get("x-reva-transfer"), headers.get("x-access-token")) for _, headers in storage.requests]
    assert sent == [("one", "two"), (None, None)]


async def test_they_do_not_go_to_whoever_the_server_sends_us_to(storage: Storage) -> None:
    with running_storage() as other:
        away = storage.put("/away", status=307, headers={"Location": other.put("/a", BODY)})
        assert await read(start(away, upload_id="")) == BODY
    near = storage.put("/near", status=307, headers={"Location": "away"})
    storage.put("/away", BODY)
    assert await read(start(near, upload_id="")) == BODY
    assert ["x-access-token" in headers for _, headers in storage.requests] == [True, True, True]
    assert not {"x-access-token", "x-reva-transfer"} & other.requests[0][1].keys()


async def test_an_address_is_asked_letter_by_letter(storage: Storage) -> None:
    """A signature hangs on each of them."""
    target = "/data/a%2Fb/../%7e;x?sig=a+b%2b/%3d&e="
    assert await read(start(storage.put(target, BODY))) == BODY
    moved = storage.put("/moved", status=302, headers={"Location": storage.url(target)})
    assert await read(start(moved)) == BODY
    assert [path for path, _ in storage.requests] == [target, "/moved", target]


async def test_nothing_is_kept_or_taken_from_elsewhere(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cookies, no proxy from the environment; and no bytes other than those of the file."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    event = start(storage.put("/a", BODY, headers={"Set-Cookie": "a=b"}))
    async with StreamDelivery() as delivery, delivery.deliver(event) as delivered:
        for _ in range(2):
            assert b"".join([piece async for piece in delivered.stream()]) == BODY
    assert [headers["accept-encoding"] for _, headers in storage.requests] == ["identity"] * 2
    assert not any("cookie" in headers for _, headers in storage.requests)


@pytest.mark.parametrize(("url", "token"), [("/secret\x01", "one"), ("/secret", "one\r\nX: y"), ("0/secret", "one")])
async def test_what_no_request_can_carry_is_not_sent(storage: Storage, url: str, token: str) -> None:
    event = StartPostprocessingStep(upload_id="", url=storage.url(url), filesize=1, token=token, step_to_start="s")
    with pytest.raises(BytesUnavailable, match="did not deliver") as raised:
        await read(event)
    assert "secret" not in str(raised.value)
    assert not storage.requests


async def test_a_server_that_stops_sending_is_given_up(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(body, "_SLOWEST_BYTES_PER_SECOND", 10**9)
    with pytest.raises(BytesUnavailable, match="too slow"):
        await read(start(storage.put("/a", BODY, stalls=True)))


async def test_the_time_that_the_reader_takes_is_its_own(storage: Storage, let_pass: LetPass) -> None:
    async with StreamDelivery() as delivery, delivery.deliver(start(storage.put("/a", BODY))) as delivered:
        got = 0
        async with aclosing(delivered.stream()) as pieces:
            async for piece in pieces:
                if not got:
                    let_pass(10 * body._WAIT_SECONDS)
                got += len(piece)
    assert got == len(BODY)


async def test_a_reading_that_is_left_is_closed_with_the_delivery(storage: Storage) -> None:
    async with StreamDelivery() as delivery, delivery.deliver(start(storage.put("/a", bytes(10**8)), 10**8)) as given:
        pieces = given.stream()
        await anext(pieces)
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)


LARGE = BODY * 4
PAUSED = timedelta(seconds=1)


async def test_what_breaks_off_goes_on_from_there(storage: Storage) -> None:
    """Only once more for each cut: what has arrived is not fetched again."""
    url = storage.put("/a", LARGE, cut_at=1_500_000)
    assert await read(start(url, len(LARGE))) == LARGE
    asked = [headers.get("range", "") for _, headers in storage.requests]
    assert asked == ["", "bytes=1500000-4095999", "bytes=3000000-4095999"]


async def test_what_breaks_off_and_cannot_go_on_begins_anew(storage: Storage) -> None:
    """A server without ranges sends all of it, and what is known already is passed over."""
    cuts: Iterator[int | None] = iter([1_500_000, None])

    class Changing(dict[str, Page]):
        def get(self, key: str, default: Any = None) -> Any:
            del key, default
            return Page(body=LARGE, ranges=False, cut_at=next(cuts))

    url = storage.url("/a")
    storage.pages = Changing()
    assert await read(start(url, len(LARGE))) == LARGE


async def test_a_server_that_hangs_is_given_up_at_the_stall_limit(storage: Storage) -> None:
    url = storage.put("/a", BODY, stalls=True)
    async with StreamDelivery(stall_limit=PAUSED) as delivery, delivery.deliver(start(url)) as delivered:
        with pytest.raises(BytesUnavailable, match="did not deliver"):
            async for _ in delivered.stream():
                pass
    assert len(storage.requests) == 1


async def test_an_address_that_is_over_says_so(storage: Storage) -> None:
    with pytest.raises(BytesGone, match="410"):
        await read(start(storage.put("/a", status=410)))
