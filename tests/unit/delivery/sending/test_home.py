from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobMissing
from penstock.blobs.local import LocalBlobs
from penstock.delivery.sending.home import HomeWay
from penstock.errors import Unavailable
from penstock.events.types import StartPostprocessingStep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

UPLOAD = "a" * 32


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path / "here") as blobs:
        await blobs.create(UPLOAD)
        async with blobs.append(UPLOAD, 0) as out:
            await out.write(b"bytes")
        yield blobs


async def addressed(way: HomeWay, url: str, upload_id: str = UPLOAD) -> str:
    start = StartPostprocessingStep(upload_id=upload_id, url=url, step_to_start="ocr", filename="x", filesize=5)
    return await way.address(start, "id", lambda *_: None)


async def test_a_file_is_found_where_its_folder_was_moved_to(tmp_path: Path, blobs: LocalBlobs) -> None:
    way, now = HomeWay(tmp_path / "here", blobs), blobs.path(UPLOAD).as_uri()
    assert await addressed(way, (tmp_path / "before" / "staged" / "aa" / UPLOAD).as_uri()) == now
    assert await addressed(way, now) == now


@pytest.mark.parametrize(
    ("url", "upload_id"),
    [
        ("https://storage/data", UPLOAD),
        ("", UPLOAD),
        ("file:///elsewhere/of-another-storage", "b" * 32),
        ("file:///elsewhere/of-another-storage", "not one of our IDs"),
    ],
)
async def test_what_is_not_ours_stays_as_it_is(tmp_path: Path, blobs: LocalBlobs, url: str, upload_id: str) -> None:
    assert await addressed(HomeWay(tmp_path / "here", blobs), url, upload_id) == url


class Away:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def path(self, upload_id: str) -> Path:
        raise self.error


@pytest.mark.parametrize("error", [BlobMissing("gone"), Unavailable("the volume is away")])
async def test_what_cannot_be_looked_up_stays_as_it_is(tmp_path: Path, error: Exception) -> None:
    assert await addressed(HomeWay(tmp_path, Away(error)), "file:///before") == "file:///before"
