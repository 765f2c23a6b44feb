from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.delivery.base import BytesGone, BytesUnavailable, DeliveryRefused
from penstock.delivery.path import PathDelivery
from penstock.events.types import StartPostprocessingStep

UPLOAD = "0123456789abcdef0123456789abcdef"


def start(url: str, size_bytes: int = 5) -> StartPostprocessingStep:
    return StartPostprocessingStep(upload_id=UPLOAD, url=url, filesize=size_bytes, step_to_start="thumbnail")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


def put(file: Path, content: bytes = b"hello") -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return file


@pytest.fixture
def staged(root: Path) -> Path:
    return put(root / "ab" / UPLOAD)


async def deliver(root: Path, url: str, size_bytes: int = 5) -> bytes:
    async with PathDelivery(root).deliver(start(url, size_bytes)) as delivered:
        assert delivered.size_bytes == size_bytes
        streamed = b"".join([piece async for piece in delivered.stream()])
        assert delivered.path.read_bytes() == streamed
        return streamed


async def test_a_file_below_the_staging_area_is_handed_out(root: Path, staged: Path) -> None:
    assert await deliver(root, staged.as_uri()) == b"hello"
    assert await deliver(root, "file://localhost" + str(staged)) == b"hello"


async def test_an_empty_file_is_handed_out(root: Path, staged: Path) -> None:
    put(staged, b"")
    assert await deliver(root, staged.as_uri(), 0) == b""


async def test_the_staging_area_itself_may_be_reached_through_a_link(root: Path, staged: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert await deliver(tmp_path / "link", (tmp_path / "link" / "ab" / UPLOAD).as_uri()) == b"hello"


async def test_names_that_need_quoting_are_found(root: Path) -> None:
    odd = put(Path(os.fsdecode(os.fsencode(root) + b"/50% #1? \xff")))
    assert await deliver(root, odd.as_uri()) == b"hello"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relative/path",
        "/etc/hostname",
        "http://127.0.0.1/etc/hostname",
        "https://example.test/data/token",
        "FILE://otherhost/etc/hostname",
        "file://127.0.0.1/etc/hostname",
        "file:///etc/hostname",
        "file:///etc/does-not-exist",
        "file:etc/hostname",
        "file://",
        "file:///",
        "file:///proc/self/environ",
        "file:///tmp/x%00y",
        "file:///tmp/x?y=1",
        "file:///tmp/x#y",
        "file://[::1",
    ],
)
async def test_everything_else_is_refused_whether_it_exists_or_not(root: Path, url: str) -> None:
    with pytest.raises(DeliveryRefused):
        await deliver(root, url)


async def test_dots_do_not_lead_out_of_the_staging_area(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret")
    for url in (f"file://{root}/../secret", f"file://{root}/%2e%2e/secret", f"file://{root}/ab/..%2f..%2fsecret"):
        with pytest.raises(DeliveryRefused):
            await deliver(root, url)


async def test_a_neighbour_whose_name_begins_alike_is_outside(root: Path) -> None:
    neighbour = put(Path(f"{root}-old") / "file")
    with pytest.raises(DeliveryRefused):
        await deliver(root, neighbour.as_uri())


async def test_links_do_not_lead_out_of_the_staging_area(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    (root / "circle").symlink_to(root / "circle")
    for name in ("link", "folder/secret", "circle"):
        with pytest.raises(DeliveryRefused):
            await deliver(root, (root / name).as_uri())


async def test_what_is_no_regular_file_is_refused_without_opening_it(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    for name in ("pipe", "folder", ""):
        with pytest.raises(DeliveryRefused):
            await deliver(root, f"file://{root}/{name}", 0)


async def test_missing_bytes_are_told_from_an_address_that_is_not_ours(root: Path, staged: Path) -> None:
    os.unlink(staged)
    with pytest.raises(BytesGone, match=UPLOAD):
        await deliver(root, staged.as_uri())
    os.rmdir(staged.parent)
    with pytest.raises(BytesGone, match=UPLOAD):
        await deliver(root, staged.as_uri())


@pytest.mark.parametrize("announced", [0, 4, 6])
async def test_a_file_of_another_size_is_not_the_upload(root: Path, staged: Path, announced: int) -> None:
    with pytest.raises(BytesUnavailable, match=f"holds 5 bytes, but upload {UPLOAD} has {announced}"):
        await deliver(root, staged.as_uri(), announced)
