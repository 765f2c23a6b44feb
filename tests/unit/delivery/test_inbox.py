from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from penstock.delivery.base import BytesGone, BytesUnavailable, DeliveryRefused
from penstock.delivery.inbox import InboxDelivery
from penstock.delivery.schemes import ByScheme
from penstock.events.types import StartPostprocessingStep
from tests.unit.delivery.sending.test_push import unruly

BODY = b"x" * 1000
NAME = str(uuid.UUID(int=1))


def start(url: str, size_bytes: int = len(BODY)) -> StartPostprocessingStep:
    return StartPostprocessingStep(upload_id="u", url=url, filesize=size_bytes, step_to_start="ocr")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def inbox(tmp_path: Path) -> InboxDelivery:
    (tmp_path / NAME).write_bytes(BODY)
    return InboxDelivery(tmp_path, ByScheme({}))


async def test_a_pushed_file_is_handed_out_and_removed(inbox: InboxDelivery, tmp_path: Path) -> None:
    async with inbox.deliver(start(f"https://worker/files/{NAME}")) as delivered:
        assert delivered.path.read_bytes() == BODY
    assert names(tmp_path) == []


async def test_it_goes_with_an_attempt_that_failed(inbox: InboxDelivery, tmp_path: Path) -> None:
    """Such as one that was silent for too long: the next one has a file of its own."""
    with pytest.raises(RuntimeError):
        async with inbox.deliver(start(f"https://worker/files/{NAME}")):
            raise RuntimeError
    assert names(tmp_path) == []


async def test_it_stays_when_the_work_was_not_done(inbox: InboxDelivery, tmp_path: Path) -> None:
    with pytest.raises(asyncio.CancelledError):
        async with inbox.deliver(start(f"https://worker/files/{NAME}")):
            raise asyncio.CancelledError
    assert names(tmp_path) == [NAME]


async def test_it_must_be_all_of_it_and_no_link(inbox: InboxDelivery, tmp_path: Path) -> None:
    with pytest.raises(BytesUnavailable, match="not the 999 bytes"):
        async with inbox.deliver(start(f"https://worker/files/{NAME}", 999)):
            pass
    (tmp_path / "other").write_bytes(BODY)
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).symlink_to(tmp_path / "other")
    with pytest.raises(BytesUnavailable, match="cannot be opened"):
        async with inbox.deliver(start(f"https://worker/files/{NAME}")):
            pass


@pytest.mark.parametrize(
    "url", [f"https://worker/{uuid.UUID(int=2)}", "https://worker/x", "http://[", f"file:///{NAME}x"]
)
async def test_what_is_not_there_is_fetched_otherwise(inbox: InboxDelivery, url: str) -> None:
    with pytest.raises(DeliveryRefused, match="this step can get at"):
        async with inbox.deliver(start(url)):
            pass


async def test_whoever_is_asked_for_a_file_is_not_listened_to_without_end(tmp_path: Path) -> None:
    with unruly("endless") as server:
        url = f"http://127.0.0.1:{server.server_port}/delivery/push/u/{NAME}?token=t"
        async with InboxDelivery(tmp_path, ByScheme({})) as inbox:
            with pytest.raises(BytesUnavailable, match="answered 500 when asked for the file") as found:
                async with inbox.deliver(start(url)):
                    pass
        assert server.talked_bytes < 16 * 1024 * 1024  # what the system's buffers hold
    assert "127.0.0.1" in str(found.value)
    assert "127.0.0.1" not in found.value.told


async def test_it_asks_with_one_client_which_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one reads the certificates of this machine anew."""
    made = list[httpx.AsyncClient]()
    make = httpx.AsyncClient.__init__

    def counted(client: httpx.AsyncClient, **how: object) -> None:
        made.append(client)
        make(client, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(httpx.AsyncClient, "__init__", counted)
    with unruly(202, 202, 202, 410) as server:
        url = f"http://127.0.0.1:{server.server_port}/delivery/push/u/{NAME}?token=t"
        async with InboxDelivery(tmp_path, ByScheme({}), stall_limit=timedelta(seconds=0.01)) as inbox:
            with pytest.raises(BytesUnavailable, match="asked for the file 3 times"):
                await inbox.deliver(start(url)).__aenter__()
            with pytest.raises(BytesGone):
                await inbox.deliver(start(url)).__aenter__()
    assert len(server.requests) == 4
    assert [client.is_closed for client in made] == [True]
