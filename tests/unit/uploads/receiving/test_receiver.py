from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from penstock.blobs.base import BlobUnavailable, StorageFull
from penstock.errors import InvalidRequest, NotFound
from penstock.ids import new_upload_id
from penstock.testing import eventually
from penstock.uploads.errors import (
    ChecksumMismatch,
    Disconnected,
    Ending,
    Gone,
    Idle,
    InconsistentLength,
    Interrupted,
    TooLarge,
    WrongOffset,
)
from penstock.uploads.protocols.checksum import Checksum
from penstock.uploads.protocols.digests import REPR_DIGEST
from penstock.uploads.protocols.expected import Claim, Expected
from penstock.uploads.protocols.names import UnsafeName
from penstock.uploads.upload import Phase
from tests.unit.uploads.way_in import EXPIRATION, Silent, WayIn, body, cut, way_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.conftest import LetPass

MIB = 1024 * 1024
SHA1 = Expected.of(Checksum("sha1", hashlib.sha1(b"hello", usedforsecurity=False).digest()))


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[WayIn]:
    async with way_in(tmp_path) as opened:
        yield opened


def whole(content: bytes) -> Expected:
    return Expected((Claim(REPR_DIGEST, Checksum("sha256", hashlib.sha256(content).digest())),))


async def created(parts: WayIn, size: int | None = 10) -> str:
    return (await parts.receiver.create("a.txt", size_bytes=size)).upload.id


async def test_an_upload_comes_in_piece_by_piece_and_is_announced_once(parts: WayIn) -> None:
    upload = await created(parts)
    assert (await parts.receiver.receive(upload, 0, body(b"he", b"llo"), length=5)).offset == 5
    assert parts.announced == []
    last = await parts.receiver.receive(upload, 5, body(b"world"), length=5)
    assert (last.offset, last.complete, last.upload.phase) == (10, True, Phase.PROCESSING)
    assert await parts.content(upload) == b"helloworld"
    await eventually(lambda: [event.upload_id for event in parts.announced] == [upload])
    assert parts.announced[0].filesize == 10


async def test_what_was_created_is_in_the_catalogue(parts: WayIn) -> None:
    made = await parts.receiver.create(
        "a.txt", size_bytes=3, space="lab", media_type="text/plain", metadata="x", initiator_id="me"
    )
    kept = await parts.catalogue.get(made.upload.id)
    assert kept == made.upload
    assert kept is not None
    assert (kept.filename, kept.space, kept.initiator_id, kept.phase) == ("a.txt", "lab", "me", Phase.RECEIVING)
    assert kept.expires_at == parts.clock.now() + EXPIRATION


async def test_an_upload_without_a_name_is_named_after_its_id(parts: WayIn) -> None:
    upload = (await parts.receiver.create(None, size_bytes=3)).upload
    assert upload.filename == upload.id


async def test_an_unsafe_name_creates_nothing(parts: WayIn) -> None:
    for name in ("", "..", "a/b"):
        with pytest.raises(UnsafeName):
            await parts.receiver.create(name, size_bytes=3)
    assert await parts.blobs.staged() == []


async def test_an_empty_upload_is_complete_at_once(parts: WayIn) -> None:
    made = await parts.receiver.create("empty", size_bytes=0)
    assert made.complete
    await eventually(lambda: [event.filesize for event in parts.announced] == [0])


async def test_an_upload_of_unknown_size_ends_with_its_body(parts: WayIn) -> None:
    upload = await created(parts, None)
    last = await parts.receiver.receive(upload, 0, body(bytes(MIB), bytes(20 * MIB)), length=None, ends_upload=True)
    assert (last.complete, last.offset, last.upload.size_bytes) == (True, 21 * MIB, 21 * MIB)


async def test_the_limit_holds_for_all_sizes(tmp_path: Path) -> None:
    async with way_in(tmp_path, max_size_bytes=10) as parts:
        assert (await parts.receiver.create("a", size_bytes=10)).offset == 0
        with pytest.raises(TooLarge):
            await parts.receiver.create("a", size_bytes=11)
        open_ended = await created(parts, None)
        with pytest.raises(TooLarge):
            await parts.receiver.receive(open_ended, 0, body(), length=11)
        with pytest.raises(TooLarge):
            await parts.receiver.receive(open_ended, 0, body(b"x" * 10, b"x"), length=None)
        assert await parts.receiver.offset(open_ended) == 0


@pytest.mark.parametrize("offset", [0, 4, 6, 10, 1 << 50])
async def test_a_wrong_offset_is_refused_before_the_body_is_touched(parts: WayIn, offset: int) -> None:
    upload = await created(parts)
    await parts.receiver.receive(upload, 0, body(b"hello"), length=5)
    untouched = Silent()
    with pytest.raises(WrongOffset) as raised:
        await parts.receiver.receive(upload, offset, untouched, length=1)
    assert raised.value.offset == 5
    assert not untouched.standing_still.is_set()
    assert (await parts.receiver.receive(upload, 5, body(b"world"), length=5)).complete


async def test_too_long_a_body_is_refused_before_it_is_touched(parts: WayIn) -> None:
    upload = await created(parts)
    untouched = Silent()
    with pytest.raises(TooLarge, match="lacks only 10"):
        await parts.receiver.receive(upload, 0, untouched, length=11)
    assert not untouched.standing_still.is_set()


@pytest.mark.parametrize("size", [1, 10, 3 * MIB])
async def test_nothing_of_an_endless_body_is_kept(parts: WayIn, size: int) -> None:
    upload = await created(parts, 2 * size)
    await parts.receiver.receive(upload, 0, body(b"x" * size), length=None)
    with pytest.raises(TooLarge, match="Nothing of it was kept"):
        await parts.receiver.receive(upload, size, body(b"y" * size, b"y"), length=None)
    assert (await parts.receiver.status(upload)).offset == size
    assert (await parts.receiver.receive(upload, size, body(b"z" * size), length=None)).complete
    assert await parts.content(upload) == b"x" * size + b"z" * size


@pytest.mark.parametrize("size", [1, 3 * MIB])
async def test_what_came_before_a_disconnection_is_kept(parts: WayIn, size: int) -> None:
    upload = await created(parts, 2 * size)
    with pytest.raises(Disconnected):
        await parts.receiver.receive(upload, 0, cut(b"x" * size), length=2 * size)
    assert (await parts.receiver.status(upload)).offset == size
    assert (await parts.receiver.receive(upload, size, body(b"y" * size), length=size)).complete
    assert await parts.content(upload) == b"x" * size + b"y" * size


async def test_all_bytes_before_a_disconnection_complete_the_upload_at_the_next_look(parts: WayIn) -> None:
    upload = await created(parts)
    with pytest.raises(Disconnected):
        await parts.receiver.receive(upload, 0, cut(b"helloworld"), length=10)
    assert (await parts.receiver.status(upload)).complete
    await eventually(lambda: len(parts.announced) == 1)


async def test_a_right_checksum_is_taken(parts: WayIn) -> None:
    upload = await created(parts)
    assert (await parts.receiver.receive(upload, 0, body(b"hel", b"lo"), length=5, expected=SHA1)).offset == 5
    assert (await parts.receiver.receive(upload, 5, body(b"hello"), length=5, expected=SHA1)).complete


@pytest.mark.parametrize("size", [1, 5 * MIB])
async def test_a_wrong_checksum_leaves_no_trace(parts: WayIn, size: int) -> None:
    upload = await created(parts, size)
    with pytest.raises(ChecksumMismatch, match="send the same bytes again"):
        await parts.receiver.receive(upload, 0, body(b"x" * size), length=size, expected=SHA1)
    assert (await parts.receiver.status(upload)).offset == 0
    right = Expected.of(Checksum("sha256", hashlib.sha256(b"y" * size).digest()))
    assert (await parts.receiver.receive(upload, 0, body(b"y" * size), length=size, expected=right)).complete
    assert await parts.content(upload) == b"y" * size


@pytest.mark.parametrize("size", [1, 5 * MIB])
async def test_a_cut_body_with_a_checksum_leaves_no_trace(parts: WayIn, size: int) -> None:
    upload = await created(parts, 2 * size)
    with pytest.raises(Disconnected):
        await parts.receiver.receive(upload, 0, cut(b"x" * size), length=2 * size, expected=SHA1)
    assert (await parts.receiver.status(upload)).offset == 0


async def test_head_takes_over_from_a_half_open_request(parts: WayIn) -> None:
    upload = await created(parts)
    silent = Silent(b"hel")
    old = asyncio.create_task(parts.receiver.receive(upload, 0, silent, length=10))
    await silent.standing_still.wait()
    assert (await parts.receiver.status(upload)).offset == 3
    with pytest.raises(Interrupted):
        await old
    assert (await parts.receiver.receive(upload, 3, body(b"loworld"), length=7)).complete
    assert await parts.content(upload) == b"helloworld"


async def test_patch_takes_over_where_a_half_open_request_got(parts: WayIn) -> None:
    upload = await created(parts)
    silent = Silent(b"hel")
    old = asyncio.create_task(parts.receiver.receive(upload, 0, silent, length=10))
    await silent.standing_still.wait()
    assert (await parts.receiver.receive(upload, 3, body(b"loworld"), length=7)).complete
    with pytest.raises(Interrupted):
        await old
    assert await parts.content(upload) == b"helloworld"


async def test_a_tentative_body_gives_way_to_one_at_its_own_offset(parts: WayIn) -> None:
    upload = await created(parts, 6 * MIB)
    silent = Silent(bytes(5 * MIB))
    old = asyncio.create_task(parts.receiver.receive(upload, 0, silent, length=6 * MIB, expected=SHA1))
    await silent.standing_still.wait()
    assert (await parts.receiver.receive(upload, 0, body(b"x" * MIB), length=MIB)).offset == MIB
    with pytest.raises(Interrupted):
        await old


async def test_delete_takes_over_and_frees_the_bytes(parts: WayIn) -> None:
    upload = await created(parts)
    silent = Silent(b"hel")
    old = asyncio.create_task(parts.receiver.receive(upload, 0, silent, length=10))
    await silent.standing_still.wait()
    await parts.receiver.terminate(upload)
    with pytest.raises(Interrupted):
        await old
    assert await parts.blobs.staged() == []
    for attempt in (parts.receiver.status(upload), parts.receiver.receive(upload, 3, body(b"x"), length=1)):
        with pytest.raises(Gone, match="cancelled"):
            await attempt


async def test_of_two_requests_for_one_offset_the_first_to_send_wins(parts: WayIn) -> None:
    upload = await created(parts)
    silent = Silent(b"hel")
    first = asyncio.create_task(parts.receiver.receive(upload, 0, silent, length=10))
    await silent.standing_still.wait()
    with pytest.raises(WrongOffset) as raised:
        await parts.receiver.receive(upload, 0, body(b"x" * 10), length=10)
    assert raised.value.offset == 3
    assert not first.done()
    first.cancel()


async def test_of_many_requests_for_one_offset_exactly_one_succeeds(parts: WayIn) -> None:
    upload = await created(parts, 5)
    results = await asyncio.gather(
        *(parts.receiver.receive(upload, 0, body(b"%d" % number * 5), length=5) for number in range(10)),
        return_exceptions=True,
    )
    winners = [number for number, result in enumerate(results) if not isinstance(result, BaseException)]
    assert len(winners) == 1
    assert await parts.content(upload) == b"%d" % winners[0] * 5
    await eventually(lambda: len(parts.announced) == 1)


async def test_the_last_request_may_be_repeated_without_a_second_run(parts: WayIn) -> None:
    upload = await created(parts, 5)
    await parts.receiver.receive(upload, 0, body(b"hello"), length=5)
    for _ in range(3):
        assert (await parts.receiver.receive(upload, 5, body(), length=0)).complete
        assert (await parts.receiver.status(upload)).offset == 5
        with pytest.raises(WrongOffset):
            await parts.receiver.receive(upload, 0, body(b"hello"), length=5)
        with pytest.raises(TooLarge):
            await parts.receiver.receive(upload, 5, body(b"x"), length=1)
        with pytest.raises(TooLarge):
            await parts.receiver.receive(upload, 5, body(b"x"), length=None)
    kept = await parts.catalogue.get(upload)
    assert kept is not None
    assert kept.run == 1


async def test_a_silent_client_is_given_up_and_its_bytes_are_kept(tmp_path: Path, let_pass: LetPass) -> None:
    async with way_in(tmp_path, idle=timedelta(minutes=10)) as parts:
        upload = await created(parts)
        silent = Silent(b"hel")
        receiving = asyncio.create_task(parts.receiver.receive(upload, 0, silent, length=10))
        await silent.standing_still.wait()
        let_pass(1200)
        with pytest.raises(Idle):
            await receiving
        assert (await parts.receiver.status(upload)).offset == 3


async def test_stopping_ends_requests_and_keeps_their_bytes(parts: WayIn) -> None:
    upload = await created(parts)
    silent = Silent(b"hel")
    old = asyncio.create_task(parts.receiver.receive(upload, 0, silent, length=10))
    await silent.standing_still.wait()
    await parts.receiver.stop()
    with pytest.raises(Ending):
        await old
    assert await parts.receiver.offset(upload) == 3
    with pytest.raises(Ending):
        await parts.receiver.receive(upload, 3, body(b"l"), length=1)


@pytest.mark.parametrize("upload", ["", "x", "../x", "A" * 32, "٠" * 32, "0" * 32])
async def test_unknown_and_malformed_ids_are_not_found(parts: WayIn, upload: str) -> None:
    for attempt in (
        parts.receiver.status(upload),
        parts.receiver.receive(upload, 0, body(b"x"), length=1),
        parts.receiver.terminate(upload),
        parts.receiver.find(upload),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_an_expired_upload_is_gone_even_if_nobody_has_swept_it(parts: WayIn) -> None:
    upload = await created(parts)
    await parts.clock.advance(EXPIRATION)
    for attempt in (parts.receiver.status(upload), parts.receiver.receive(upload, 0, body(b"x"), length=1)):
        with pytest.raises(Gone, match=r"not complete by 2026-01-01 01:00:00 UTC. Begin a new one"):
            await attempt


async def test_an_upload_that_is_swept_while_it_comes_in_does_not_come_back(parts: WayIn) -> None:
    made = await parts.receiver.create("a", size_bytes=6)
    silent = Silent(b"hel")
    old = asyncio.create_task(parts.receiver.receive(made.upload.id, 0, silent, length=6))
    await silent.standing_still.wait()
    await parts.gateway.expire(made.upload)
    with pytest.raises(Gone, match="expired"):
        await parts.receiver.status(made.upload.id)
    old.cancel()
    await asyncio.gather(old, return_exceptions=True)
    assert await parts.blobs.staged() == []


@pytest.mark.parametrize("phase", [Phase.REJECTED, Phase.DELETED])
async def test_a_rejected_upload_shows_no_full_offset(parts: WayIn, phase: Phase) -> None:
    made = await parts.receiver.create("a", size_bytes=0)
    assert await parts.catalogue.change(made.upload, msgspec.structs.replace(made.upload, phase=phase, reason="virus"))
    with pytest.raises(Gone, match="virus"):
        await parts.receiver.status(made.upload.id)
    if phase is Phase.REJECTED:
        await parts.receiver.withdraw(made.upload.id)
    with pytest.raises(Gone):
        await parts.receiver.withdraw(made.upload.id)
    assert await parts.blobs.staged() == ([] if phase is Phase.REJECTED else [made.upload.id])


async def test_terminating_twice_is_terminating_once(parts: WayIn) -> None:
    upload = await created(parts)
    await parts.receiver.terminate(upload)
    await parts.receiver.terminate(upload)


async def test_uploads_go_on_after_a_restart(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        upload = await created(parts)
        await parts.receiver.receive(upload, 0, body(b"hello"), length=5)
    async with way_in(tmp_path) as parts:
        assert (await parts.receiver.status(upload)).offset == 5
        assert (await parts.receiver.receive(upload, 5, body(b"world"), length=5)).complete


async def test_an_upload_whose_file_was_lost_with_the_power_starts_again(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        upload = await created(parts, 5)
        await parts.blobs.discard(upload)
    async with way_in(tmp_path) as parts:
        assert (await parts.receiver.receive(upload, 0, body(b"hello"), length=5)).complete


async def test_bytes_that_vanish_in_mid_upload_are_asked_for_again(parts: WayIn) -> None:
    upload = await created(parts, 6)
    await parts.receiver.receive(upload, 0, body(b"hel"), length=3)
    await parts.blobs.discard(upload)
    with pytest.raises(BlobUnavailable, match="Send them again from the start"):
        await parts.receiver.receive(upload, 3, body(b"low"), length=3)
    assert (await parts.receiver.status(upload)).offset == 0


async def test_what_others_did_to_the_file_is_noticed(parts: WayIn) -> None:
    upload = await created(parts, 6)
    async with parts.blobs.append(upload, 0) as out:
        await out.write(b"abc")
    with pytest.raises(WrongOffset) as raised:
        await parts.receiver.receive(upload, 0, body(b"hello!"), length=6)
    assert raised.value.offset == 3
    assert (await parts.receiver.receive(upload, 3, body(b"def"), length=3)).complete


async def test_a_second_upload_that_does_not_fit_beside_the_first_is_refused(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        free = await parts.blobs.free_bytes()
        assert free is not None
        first = await created(parts, free * 2 // 3)
        with pytest.raises(StorageFull, match="promised"):
            await created(parts, free * 2 // 3)
        await parts.receiver.terminate(first)
        await created(parts, free * 2 // 3)
    async with way_in(tmp_path) as parts:
        with pytest.raises(StorageFull):
            await created(parts, free * 2 // 3)


async def test_nothing_is_left_behind_by_what_was_refused(parts: WayIn) -> None:
    free = await parts.blobs.free_bytes()
    assert free is not None
    for attempt in (parts.receiver.create("a", size_bytes=free * 2), parts.receiver.create("a/b", size_bytes=1)):
        with pytest.raises((StorageFull, InvalidRequest)):
            await attempt
    assert await parts.blobs.staged() == []
    assert (await parts.catalogue.list()).uploads == []


async def test_a_size_that_another_instance_was_told_first_stays(parts: WayIn, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = (await parts.receiver.create("a", size_bytes=None)).upload.id
    declare = parts.catalogue.declare

    async def is_late(upload_id: str, size_bytes: int) -> bool:
        await declare(upload_id, 3)
        return await declare(upload_id, size_bytes)

    monkeypatch.setattr(parts.catalogue, "declare", is_late)
    with pytest.raises(InconsistentLength):
        await parts.receiver.receive(upload, 0, body(b"hello"), length=5, size_bytes=5)
    assert await parts.receiver.offset(upload) == 0


async def test_bytes_are_counted(parts: WayIn) -> None:
    upload = await created(parts)
    await parts.receiver.receive(upload, 0, body(b"hello"), length=5)
    with pytest.raises(Disconnected):
        await parts.receiver.receive(upload, 5, cut(b"wo"), length=5)
    assert parts.metrics.registry.get_sample_value("penstock_received_bytes_total") == 7


async def test_what_was_forgotten_is_looked_up(parts: WayIn) -> None:
    parts.receiver._recent._most = 3
    uploads = [await created(parts) for _ in range(10)]
    assert len(parts.receiver._recent) == 3
    for upload in uploads:
        assert (await parts.receiver.receive(upload, 0, body(b"hello"), length=5)).offset == 5


async def test_a_name_of_an_id_that_never_was(parts: WayIn) -> None:
    assert await parts.receiver.offset(new_upload_id()) == 0


async def test_thousands_that_have_not_arrived_hold_up_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is looked at all the same, and what has arrived in whole is completed: the one of before all others, too."""
    async with way_in(tmp_path) as parts:
        oldest = (await parts.receiver.create("whole", size_bytes=5)).upload.id
        for _ in range(150):
            await parts.receiver.create("begun", size_bytes=5)
        async with parts.blobs.append(oldest, 0) as appender:
            await appender.write(b"hello")
    async with way_in(tmp_path) as parts:
        looks, length = 0, parts.blobs.length

        async def far_away(upload_id: str) -> int:
            nonlocal looks
            looks += 1
            await parts.clock.advance(timedelta(milliseconds=20))
            return await length(upload_id)

        monkeypatch.setattr(parts.blobs, "length", far_away)
        await parts.gateway.reconcile()
        assert looks < 100
        assert (await parts.receiver.known(oldest)).phase is Phase.RECEIVING
        await parts.gateway.catch_up()
        assert (await parts.receiver.known(oldest)).phase is Phase.PROCESSING
        assert looks == 151
        await parts.gateway.catch_up()
        assert looks == 151


async def test_nobody_calls_an_upload_complete_for_a_client_that_does_it_itself(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        upload_id, forgotten = [
            (await parts.receiver.create("a.txt", size_bytes=5, explicit_end=True)).upload.id for _ in range(2)
        ]
        for one in (upload_id, forgotten):
            await parts.receiver.receive(one, 0, body(b"hello"), length=5)
    async with way_in(tmp_path) as parts:
        await parts.gateway.reconcile()
        with pytest.raises(ChecksumMismatch):
            await parts.receiver.receive(upload_id, 5, body(), length=0, ends_upload=True, expected=whole(b"other"))
        ended = await parts.receiver.receive(upload_id, 5, body(), length=0, ends_upload=True, expected=whole(b"hello"))
        assert ended.upload.phase is Phase.PROCESSING
        assert await parts.receiver.expire(await parts.receiver.known(forgotten))
        assert (await parts.receiver.known(forgotten)).phase is Phase.EXPIRED
