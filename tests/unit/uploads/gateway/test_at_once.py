"""What no step is for is released as soon as it is there, in one change."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from typing import TYPE_CHECKING, NoReturn, cast

import pytest
from structlog.testing import capture_logs

from penstock.blobs.base import BlobMissing, BlobUnavailable
from penstock.core.choice import StepRule
from penstock.core.policy import Policy
from penstock.db import DatabaseUnavailable
from penstock.postprocessing.foregone import Foregone
from penstock.telemetry import Metrics
from penstock.testing import eventually
from penstock.testing.faults import Faults, Killed, die, fail
from penstock.uploads.errors import ChecksumMismatch
from penstock.uploads.gateway.last_bytes import LastBytes
from penstock.uploads.protocols.checksum import Checksum
from penstock.uploads.protocols.digests import REPR_DIGEST
from penstock.uploads.protocols.expected import Claim, Expected
from penstock.uploads.upload import Phase

from ..way_in import body, way_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from penstock.events.types import BytesReceived
    from penstock.uploads.gateway.last_bytes import ReleasingAppender

PICTURES = Policy.create(["virusscan"], rules=(StepRule(extension=("jpg",), steps=()),))


def foregone(policy: Policy = PICTURES, metrics: Metrics | None = None) -> Foregone:
    return Foregone(policy, metrics or Metrics())


def whole(content: bytes) -> Expected:
    return Expected((Claim(REPR_DIGEST, Checksum("sha256", hashlib.sha256(content).digest())),))


async def test_it_is_released_when_its_last_byte_has_arrived(tmp_path: Path) -> None:
    metrics = Metrics()
    with capture_logs() as logs:
        async with way_in(tmp_path, foresee=foregone(metrics=metrics)) as parts:
            begun = await parts.receiver.create("a.jpg", size_bytes=5)
            standing = await parts.receiver.receive(begun.upload.id, 0, body(b"bytes"), length=5)
            released = standing.upload
            assert (released.phase, released.outcome, released.run) == (Phase.RELEASED, "continue", 1)
            assert await parts.catalogue.get(released.id) == released
            assert await parts.content(released.id) == b"bytes"
            assert await parts.blobs.staged() == []
            entries = await parts.feed.since(0, upload=released.id, limit=10)
    assert [(entry.kind, entry.phase, entry.outcome) for entry in entries] == [
        ("created", "receiving", ""),
        ("received", "processing", ""),
        ("decided", "processing", "continue"),
        ("released", "released", "continue"),
    ]
    assert parts.announced == []
    assert metrics.registry.get_sample_value("penstock_outcomes_total", {"outcome": "continue"}) == 1
    assert [entry["event"] for entry in logs] == ["upload_decided", "upload_ended"]


async def test_what_has_steps_is_announced(tmp_path: Path) -> None:
    async with way_in(tmp_path, foresee=foregone()) as parts:
        begun = await parts.receiver.create("a.txt", size_bytes=5)
        standing = await parts.receiver.receive(begun.upload.id, 0, body(b"bytes"), length=5)
        assert standing.upload.phase is Phase.PROCESSING
        await eventually(lambda: [event.upload_id for event in parts.announced] == [begun.upload.id])


async def test_a_file_is_on_disk_and_moved_in_one_hop(tmp_path: Path) -> None:
    faults = Faults()
    async with way_in(tmp_path, foresee=foregone(), faults=faults) as parts:
        begun = await parts.receiver.create("a.jpg", size_bytes=5)
        faults.counts.clear()
        await parts.receiver.receive(begun.upload.id, 0, body(b"bytes"), length=5)
    assert faults.counts == {
        "blobs.append": 1,
        "blobs.append.write": 1,
        "catalogue.change": 1,
        "catalogue.change.first": 1,
        "catalogue.change.first.then": 1,
        "blobs.append.seal_and_release": 1,
        "blobs.append.seal_and_release.then": 1,
    }


async def test_what_cannot_be_flushed_is_not_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> NoReturn:
        raise OSError(errno.EIO, "the disk is away")

    async with way_in(tmp_path, foresee=foregone()) as parts:
        begun = await parts.receiver.create("a.jpg", size_bytes=5)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(BlobUnavailable):
                await parts.receiver.receive(begun.upload.id, 0, body(b"bytes"), length=5)
        standing = await parts.receiver.status(begun.upload.id)
        assert (standing.offset, standing.upload.phase) == (0, Phase.RECEIVING)
        again = await parts.receiver.receive(begun.upload.id, 0, body(b"bytes"), length=5)
    assert again.upload.phase is Phase.RELEASED


async def test_a_policy_that_has_changed_meanwhile_finds_the_bytes_on_disk(tmp_path: Path) -> None:
    before, asked = foregone(), list[str]()

    def foresee(upload_id: str, beginning: Callable[[], BytesReceived]) -> Callable[[], None] | None:
        asked.append(upload_id)
        return before(upload_id, beginning) if len(asked) == 1 else None

    faults = Faults()
    async with way_in(tmp_path, foresee=foresee, faults=faults) as parts:
        begun = await parts.receiver.create("a.jpg", size_bytes=5)
        standing = await parts.receiver.receive(begun.upload.id, 0, body(b"bytes"), length=5)
        assert standing.upload.phase is Phase.PROCESSING
        assert await parts.content(begun.upload.id) == b"bytes"
        assert await parts.blobs.staged() == [begun.upload.id]
    assert faults.counts["blobs.append.seal"] == 1


async def test_what_dies_when_its_file_is_moved_is_released_by_the_next_life(tmp_path: Path) -> None:
    faults = Faults()
    async with way_in(tmp_path, foresee=foregone(), faults=faults) as parts:
        upload_id = (await parts.receiver.create("a.jpg", size_bytes=5)).upload.id
        faults.before("blobs.append.seal_and_release.then", die())
        with pytest.raises(Killed):
            await parts.receiver.receive(upload_id, 0, body(b"bytes"), length=5)
    async with way_in(tmp_path, foresee=foregone()) as parts:
        upload = await parts.catalogue.get(upload_id)
        assert upload is not None
        assert upload.phase is Phase.RECEIVING
        assert await parts.blobs.staged() == []
        await parts.gateway.reconcile()
        assert (await parts.receiver.status(upload_id)).upload.phase is Phase.RELEASED
        assert await parts.content(upload_id) == b"bytes"


async def test_a_client_that_comes_back_finds_a_moved_file_complete(tmp_path: Path) -> None:
    faults = Faults()
    async with way_in(tmp_path, foresee=foregone(), faults=faults) as parts:
        upload_id = (await parts.receiver.create("a.jpg", size_bytes=5)).upload.id
        faults.before("blobs.append.seal_and_release.then", fail(DatabaseUnavailable("away")), number=1)
        with pytest.raises(DatabaseUnavailable):
            await parts.receiver.receive(upload_id, 0, body(b"bytes"), length=5)
        assert await parts.blobs.staged() == []
        standing = await parts.receiver.status(upload_id)
    assert (standing.offset, standing.upload.phase) == (5, Phase.RELEASED)


async def test_a_client_that_has_to_end_its_upload_again_may_say_again_what_it_hashes_to(tmp_path: Path) -> None:
    faults = Faults()
    async with way_in(tmp_path, foresee=foregone(), faults=faults) as parts:
        upload_id = (await parts.receiver.create("a.jpg", size_bytes=5, explicit_end=True)).upload.id
        faults.before("catalogue.change", fail(DatabaseUnavailable("away")), number=1)
        with pytest.raises(DatabaseUnavailable):
            await parts.receiver.receive(upload_id, 0, body(b"bytes"), length=5, ends_upload=True)
        with pytest.raises(ChecksumMismatch):
            await parts.receiver.receive(upload_id, 5, body(), length=0, ends_upload=True, expected=whole(b"other"))
        assert (await parts.receiver.status(upload_id)).upload.phase is Phase.RECEIVING
        ended = await parts.receiver.receive(upload_id, 5, body(), length=0, ends_upload=True, expected=whole(b"bytes"))
        assert ended.upload.phase is Phase.RELEASED
        assert await parts.content(upload_id) == b"bytes"


async def test_what_had_no_size_can_go_on_after_a_death_and_is_released_by_the_bus(tmp_path: Path) -> None:
    faults = Faults()
    async with way_in(tmp_path, foresee=foregone(), faults=faults) as parts:
        upload_id = (await parts.receiver.create("a.jpg", size_bytes=None)).upload.id
        faults.before("catalogue.change", die())
        with pytest.raises(Killed):
            await parts.receiver.receive(upload_id, 0, body(b"bytes"), length=5, ends_upload=True)
    async with way_in(tmp_path, foresee=foregone()) as parts:
        await parts.gateway.reconcile()
        assert (await parts.receiver.status(upload_id)).offset == 5
        ended = await parts.receiver.receive(upload_id, 5, body(), length=0, ends_upload=True)
        assert ended.upload.phase is Phase.PROCESSING
        await eventually(lambda: [event.upload_id for event in parts.announced] == [upload_id])


async def test_what_cannot_be_moved_now_is_left_to_the_bus_which_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> NoReturn:
        raise OSError(errno.EIO, "the disk is away")

    metrics = Metrics()
    async with way_in(tmp_path, foresee=foregone(metrics=metrics)) as parts:
        begun = await parts.receiver.create("a.jpg", size_bytes=5)
        monkeypatch.setattr(os, "rename", refuse)
        standing = await parts.receiver.receive(begun.upload.id, 0, body(b"bytes"), length=5)
        assert standing.upload.phase is Phase.PROCESSING
        assert await parts.blobs.staged() == [begun.upload.id]
        await eventually(lambda: [event.upload_id for event in parts.announced] == [begun.upload.id])
    assert metrics.registry.get_sample_value("penstock_outcomes_total", {"outcome": "continue"}) is None


async def test_what_was_given_up_meanwhile_is_not_released(tmp_path: Path) -> None:
    async with way_in(tmp_path, foresee=foregone()) as parts:
        begun = (await parts.receiver.create("a.jpg", size_bytes=5)).upload
        async with parts.blobs.append(begun.id, 0) as out:
            await out.write(b"bytes")
            await out.seal()
        await parts.gateway.cancel(begun.id)
        seen = await parts.gateway.received(begun, size_bytes=5)
        assert seen.phase is Phase.CANCELLED


async def test_bytes_that_were_moved_while_their_upload_was_given_up_are_removed(tmp_path: Path) -> None:
    async with way_in(tmp_path, foresee=foregone()) as parts:
        begun = (await parts.receiver.create("a.jpg", size_bytes=5)).upload
        await parts.gateway.cancel(begun.id)
        await parts.blobs.create(begun.id)
        async with parts.blobs.append(begun.id, 0) as out:
            await out.write(b"bytes")
            last = LastBytes(cast("ReleasingAppender", out))
            assert (await parts.gateway.received(begun, size_bytes=5, last=last)).phase is Phase.CANCELLED
        with pytest.raises(BlobMissing):
            await parts.blobs.length(begun.id)
    assert parts.announced == []


async def test_what_is_not_what_its_metadata_says_is_not_released(tmp_path: Path) -> None:
    checksum = base64.b64encode(b"adler32 00000000").decode()
    async with way_in(tmp_path, foresee=foregone()) as parts:
        begun = await parts.receiver.create("a.jpg", size_bytes=5, metadata=f"checksum {checksum}")
        with pytest.raises(ChecksumMismatch):
            await parts.receiver.receive(begun.upload.id, 0, body(b"bytes"), length=5)
        upload = await parts.catalogue.get(begun.upload.id)
    assert upload is not None
    assert upload.phase is Phase.CANCELLED


async def test_an_empty_file_is_released_when_it_is_created(tmp_path: Path) -> None:
    async with way_in(tmp_path, foresee=foregone()) as parts:
        assert (await parts.receiver.create("a.jpg", size_bytes=0)).upload.phase is Phase.RELEASED
