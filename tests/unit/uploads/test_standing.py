from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from penstock.uploads.errors import BadHeader, ChecksumMismatch, Gone, MadeOfParts, TooLarge, WrongOffset
from penstock.uploads.standing import Recent, Standing, check_accepted, check_alive, gone
from penstock.uploads.upload import Phase, Upload

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def upload(phase: Phase = Phase.RECEIVING, size: int | None = 10, *, name: str = "a") -> Upload:
    return Upload(
        id=name,
        filename=name,
        size_bytes=size,
        phase=phase,
        reason="why",
        created_at=NOW,
        expires_at=NOW + timedelta(1),
    )


@pytest.mark.parametrize(("phase", "offset"), [(Phase.RECEIVING, 3), (Phase.PROCESSING, 10), (Phase.RELEASED, 10)])
def test_a_complete_upload_has_its_full_offset(phase: Phase, offset: int) -> None:
    standing = Standing.of(upload(phase), 3)
    assert standing.offset == offset
    assert standing.complete == standing.full == (phase is not Phase.RECEIVING)


def test_all_bytes_may_be_there_without_being_handed_on() -> None:
    standing = Standing(upload(), 10)
    assert standing.full
    assert not standing.complete
    assert not Standing(upload(size=None), 10).full


@pytest.mark.parametrize("length", [0, 7, None])
def test_a_request_that_fits(length: int | None) -> None:
    Standing(upload(), 3).check_begins(3)
    Standing(upload(), 3).check_fits(length, max_size_bytes=None)


def test_a_request_that_does_not() -> None:
    standing = Standing(upload(), 3)
    with pytest.raises(WrongOffset):
        standing.check_begins(4)
    with pytest.raises(TooLarge, match="lacks only 7 of its 10"):
        standing.check_fits(8, max_size_bytes=None)
    with pytest.raises(TooLarge, match="max_size is 7"):
        Standing(upload(size=None), 0).check_fits(8, max_size_bytes=7)


def test_a_size_that_was_not_known_is_declared_once() -> None:
    unknown = Standing(upload(size=None), 3)
    assert unknown.declared(None, max_size_bytes=7) is unknown
    assert unknown.declared(7, max_size_bytes=7).upload.size_bytes == 7
    assert unknown.upload.size_bytes is None
    with pytest.raises(TooLarge):
        unknown.declared(8, max_size_bytes=7)
    with pytest.raises(BadHeader, match="3 bytes have arrived"):
        unknown.declared(2, max_size_bytes=7)
    known = Standing(upload(), 3)
    assert known.declared(10, max_size_bytes=None) is known
    with pytest.raises(BadHeader, match="cannot change"):
        known.declared(11, max_size_bytes=None)


def test_what_is_made_of_parts_takes_no_bytes() -> None:
    final = msgspec.structs.replace(upload(), concat=f"final;/uploads/{'0' * 32}")
    with pytest.raises(MadeOfParts):
        Standing(final, 0).check_begins(0)


def test_an_upload_whose_last_bytes_have_come_was_accepted_or_not() -> None:
    for phase in (Phase.RECEIVING, Phase.PROCESSING, Phase.RELEASED):
        check_accepted(upload(phase))
    with pytest.raises(ChecksumMismatch, match="why"):
        check_accepted(upload(Phase.CANCELLED))
    with pytest.raises(Gone):
        check_accepted(msgspec.structs.replace(upload(Phase.CANCELLED), reason=""))
    with pytest.raises(Gone):
        check_accepted(upload(Phase.EXPIRED))


@pytest.mark.parametrize("phase", list(Phase))
def test_who_may_still_be_received(phase: Phase) -> None:
    if phase in (Phase.RECEIVING, Phase.PROCESSING, Phase.RELEASED):
        check_alive(upload(phase), NOW)
    else:
        with pytest.raises(Gone, match=f"{phase}: why. Begin a new one"):
            check_alive(upload(phase), NOW)


def test_only_unfinished_uploads_expire() -> None:
    later = NOW + timedelta(1)
    check_alive(upload(Phase.RELEASED), later)
    with pytest.raises(Gone, match="not complete by 2026-03-02 00:00:00 UTC"):
        check_alive(upload(), later)


def test_an_end_is_told_with_its_reason() -> None:
    assert str(gone(upload(Phase.DELETED))) == "upload a is deleted: why. Begin a new one."


def test_the_oldest_is_forgotten_first() -> None:
    recent = Recent(2)
    for name in "abc":
        recent.put(Standing(upload(name=name), 1))
    assert len(recent) == 2
    assert recent.take("a") is None
    taken = recent.take("c")
    assert taken is not None
    assert taken.upload.id == "c"
    assert recent.take("c") is None
