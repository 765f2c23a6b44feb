"""Expiration, on a server where uploads have little time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest

from penstock.testing import eventually
from tests.servers.penstock import PenstockServer
from tests.tus.client import BYTES, Client, Response
from tests.tus.requirement import requirement


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with PenstockServer(
        tmp_path_factory.mktemp("hasty"), PENSTOCK_ASYNC_UPLOADS="false", PENSTOCK_UPLOAD_EXPIRATION="1s"
    ) as running:
        yield Client(running.port)


def expires(response: Response) -> datetime:
    """The date, if it is written as HTTP writes dates."""
    text = response["upload-expires"]
    date = parsedate_to_datetime(text)
    assert text == format_datetime(date, usegmt=True)
    return date


@requirement("expiration-1", "MUST", "`expiration` is announced.")
@pytest.mark.any_storage
def test_expiration_is_announced(client: Client) -> None:
    assert "expiration" in client.ask("OPTIONS", "/uploads/").words("tus-extension")


@requirement("expiration-2", "MUST", "The answer to a creation tells when the upload expires, as it is known.")
@pytest.mark.any_storage
def test_the_creation_tells_when(client: Client) -> None:
    left = expires(client.post()) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)


@requirement("expiration-3", "MUST", "The answer to every PATCH of an unfinished upload tells it.")
def test_every_patch_tells_when(client: Client) -> None:
    path = client.create()
    for offset in range(3):
        assert expires(client.patch(path, offset, b"x")) > datetime.now(UTC)


@requirement("expiration-4", "TRAP", "HEAD tells it as well.")
@pytest.mark.any_storage
def test_head_tells_when(client: Client) -> None:
    assert expires(client.head(client.create())) > datetime.now(UTC)


@requirement("expiration-5", "TRAP", "An upload that is complete does not expire.")
def test_complete_uploads_do_not_expire(client: Client) -> None:
    path = client.create(5)
    assert "upload-expires" not in client.patch(path, 0, b"hello")
    assert "upload-expires" not in client.head(path)
    assert "upload-expires" not in client.post({**BYTES, "Upload-Length": 5}, b"hello")


@requirement("expiration-6", "SHOULD", "What has expired is 404 or 410 for HEAD and PATCH.")
async def test_what_has_expired_is_gone(hasty: Client) -> None:
    path = hasty.create()

    def gone() -> bool:
        return hasty.head(path).status == 410

    await eventually(gone)
    assert "upload-offset" not in hasty.head(path)
    assert hasty.patch(path, 0, b"hello").status == 410


@requirement("expiration-7", "TRAP", "An upload that was completed in time stays when its time is over.")
async def test_what_was_completed_in_time_stays(hasty: Client) -> None:
    complete = hasty.path(hasty.post({**BYTES, "Upload-Length": 5}, b"hello"))
    late = hasty.create()

    def over() -> bool:
        return hasty.head(late).status == 410

    await eventually(over)
    assert hasty.offset(complete) == 5
