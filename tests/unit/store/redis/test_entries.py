"""Records as bytes under a key, and how they are filed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.store import layout
from penstock.store.base import Saved
from penstock.store.redis.entries import (
    Keys,
    decode,
    encode,
    filing,
    from_microseconds,
    revision_digits,
    spelled,
    to_microseconds,
)
from penstock.testing.store_contract.records import IDS, NOW, SECOND, full_record, record


def test_each_write_is_another_one_and_reads_the_same() -> None:
    one, other = encode(full_record("u1")), encode(full_record("u1"))
    assert one != other
    read = decode("u1", one)
    assert read.progress == decode("u1", other).progress == full_record("u1")
    assert read.revision != decode("u1", other).revision
    assert spelled(read.revision) == revision_digits(one)
    assert layout.decode(one) == full_record("u1")  # also for who does not know of it


@pytest.mark.parametrize("value", [b"", b"{}", b'"}', b"null", b',"WriteID":"0123456789abcdef"}', b'{"ID":"u2"}'])
def test_what_is_not_the_record_of_this_upload_is_refused(value: bytes) -> None:
    with pytest.raises(layout.BadRecord):
        decode("u1", value)


def test_a_record_is_filed_under_its_step_and_its_earliest_timer() -> None:
    progress = record("u1", "ocr", due=SECOND, deadline_at=NOW)
    value = encode(progress)
    filed = filing(progress, value)
    assert filed == (revision_digits(value), b":ocr", b"%d" % to_microseconds(NOW))
    assert filed.entry == revision_digits(value) + b":ocr"
    assert filing(record("u1", ""), value)[1:] == (b":", b"")


def test_times_are_exact_to_the_microsecond_for_two_centuries() -> None:
    for at in (NOW, datetime(1970, 1, 1, tzinfo=UTC), datetime(2254, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)):
        assert from_microseconds(b"%.17g" % to_microseconds(at)) == at


@pytest.mark.parametrize("table", ["", "uploads", "a*b?[c]\\", "penstock:", "\u00e9"])
def test_no_key_of_ours_can_be_that_of_a_record(table: str) -> None:
    keys = Keys(table)
    for upload in IDS:
        assert keys.record(upload) == (table + upload).encode()
    for name in ("index", "order", "due", "steps", "last", "answers", "step:\u00e9"):
        with pytest.raises(UnicodeDecodeError):
            keys.own(name).decode()


def test_a_table_is_taken_literally_in_a_pattern() -> None:
    assert Keys("a*b?[c]\\d").pattern == b"a\\*b\\?\\[c\\]\\\\d*"
    assert Keys("").pattern == b"*"


def test_a_revision_read_is_one_saved() -> None:
    value = encode(record("u1"))
    assert decode("u1", value) == Saved(record("u1"), decode("u1", value).revision)
