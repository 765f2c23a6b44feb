"""S3 that checks each signature, and what the key is allowed: the permissions that the guide names are enough."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.moving import MovingBlobs
from penstock.blobs.objects import S3Place
from penstock.errors import ConfigurationError
from penstock.ids import new_upload_id
from tests.servers.s3 import REGION, running_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.s3 import S3Server

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "storage.md"
BODY = random.Random(8).randbytes(17 * 1024 * 1024)
PREFIX = "files/"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    return s3.new_bucket()


@pytest.fixture(scope="module")
def key(s3: S3Server, bucket: str) -> tuple[str, str]:
    actions = sorted(set(re.findall(r"`(s3:\w+)`", GUIDE.read_text())))
    assert "s3:PutObject" in actions
    return s3.only_lets_in(bucket, PREFIX, actions)


def place(s3: S3Server, bucket: str, key: str, secret: str) -> S3Place:
    return S3Place(bucket, prefix="files", endpoint=s3.endpoint, region=REGION, access_key=key, secret_key=secret)


async def test_a_whole_life(s3: S3Server, bucket: str, key: tuple[str, str]) -> None:
    final = place(s3, bucket, *key)
    async with MovingBlobs(final.staging(), final) as blobs:
        uploads = [new_upload_id() for _ in range(3)]
        for upload, body in zip(uploads, (BODY[:10], BODY, b""), strict=True):
            await blobs.create(upload)
            async with blobs.append(upload, 0) as out:
                await out.write(body)
        assert await blobs.concatenate(uploads[2], [uploads[1], uploads[0]]) == len(BODY) + 10
        for upload in uploads[1:]:
            await blobs.release(upload)
            await blobs.unstage(upload)
        assert await blobs.staged() == uploads[:1]
        assert len([found for batch in [batch async for batch in blobs.inventory()] for found in batch]) == 3
        assert s3.content(bucket, PREFIX + uploads[2]) == BODY + BODY[:10]
        for upload in uploads:
            await blobs.discard(upload)
    assert s3.keys(bucket) == []


@pytest.mark.parametrize("wrong", ["secret", "key"])
async def test_who_does_not_know_the_secret_is_not_let_in(
    s3: S3Server, bucket: str, key: tuple[str, str], wrong: str
) -> None:
    name, secret = (key[0], key[1][::-1]) if wrong == "secret" else (key[0][::-1], key[1])
    with pytest.raises(ConfigurationError, match="does not let us in") as raised:
        await place(s3, bucket, name, secret).__aenter__()
    assert secret not in str(raised.value)
