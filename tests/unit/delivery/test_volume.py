from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from penstock.delivery.base import BytesGone, BytesUnavailable, DeliveryRefused
from penstock.delivery.volume import VolumeDelivery
from penstock.delivery.volumes import OnVolume, write
from penstock.events.types import StartPostprocessingStep

BODY = b"x" * 100_000
SHA = hashlib.sha256(BODY).hexdigest()


def start(*parts: str, volume: str = "v", sha256: str = SHA, size_bytes: int = len(BODY)) -> StartPostprocessingStep:
    url = write(OnVolume(volume, parts, size_bytes, sha256))
    return StartPostprocessingStep(upload_id="u", url=url, filesize=len(BODY), step_to_start="ocr")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "v" / "staged").mkdir(parents=True)
    (tmp_path / "v" / "staged" / "u").write_bytes(BODY)
    (tmp_path / "secret").write_bytes(BODY)
    return tmp_path / "v"


async def refusal(root: Path, event: StartPostprocessingStep) -> str:
    with pytest.raises((DeliveryRefused, BytesUnavailable, BytesGone)) as found:
        async with VolumeDelivery({"v": root}).deliver(event):
            pass
    return f"{type(found.value).__name__}: {found.value}"


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


async def test_the_file_is_handed_out_and_locked(root: Path) -> None:
    path = root / "staged" / "u"
    async with VolumeDelivery({"v": root}).deliver(start("staged", "u")) as delivered:
        assert delivered.path.read_bytes() == BODY
        assert b"".join([piece async for piece in delivered.stream()]) == BODY
        assert is_locked(path)
    assert not is_locked(path)


async def test_a_part_of_a_file_is_not_the_file(root: Path) -> None:
    (root / "staged" / "u").write_bytes(BODY[:-1])
    assert "holds 99999 bytes" in await refusal(root, start("staged", "u"))
    (root / "staged" / "u").write_bytes(BODY[:-1] + b"y")
    assert "SHA-256 differs" in await refusal(root, start("staged", "u"))
    assert "its address says 1" in await refusal(root, start("staged", "u", size_bytes=1))


async def test_a_file_that_is_being_written_is_not_read(root: Path) -> None:
    with (root / "staged" / "u").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "is being written" in await refusal(root, start("staged", "u"))


async def test_no_link_is_followed(root: Path) -> None:
    (root / "staged" / "link").symlink_to(root / ".." / "secret")
    (root / "out").symlink_to(root / "..")
    (root / "within").symlink_to(root / "staged")
    for parts in (("staged", "link"), ("out", "secret"), ("within", "u"), ("staged", "u", "x")):
        assert (await refusal(root, start(*parts))).startswith("DeliveryRefused"), parts


async def test_only_regular_files_are_opened(root: Path) -> None:
    os.mkfifo(root / "fifo")
    assert "regular file" in await refusal(root, start("fifo"))
    assert "regular file" in await refusal(root, start("staged"))


async def test_what_is_missing_is_said(root: Path) -> None:
    assert (await refusal(root, start("staged", "gone"))).startswith("BytesGone")
    assert "PENSTOCK_DELIVERY_VOLUMES=w=" in await refusal(root, start("staged", "u", volume="w"))
    other = StartPostprocessingStep(upload_id="u", url="volume://v/../x", filesize=1, step_to_start="ocr")
    assert (await refusal(root, other)).startswith("DeliveryRefused")
