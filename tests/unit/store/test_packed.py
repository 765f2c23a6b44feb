"""Records without the names of their fields."""

from __future__ import annotations

from datetime import timedelta, timezone

import msgspec
import pytest

from penstock.core.progress import Progress
from penstock.store.layout import encode
from penstock.store.packed import pack, unpack
from penstock.testing.store_contract.records import NOW, full_record, record


@pytest.mark.parametrize("progress", [full_record("u1"), record("u1"), record("u1", fraction=1.0, filename="x" * 9999)])
def test_a_record_comes_back(progress: Progress) -> None:
    assert unpack(pack(progress)) == progress


def test_times_come_back_in_utc() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=2)))
    unpacked = unpack(pack(msgspec.structs.replace(record("u1"), heard_at=elsewhere)))
    assert unpacked.heard_at is not None
    assert (unpacked.heard_at, unpacked.heard_at.utcoffset()) == (NOW, timedelta())


def test_it_is_half_as_long_as_json() -> None:
    assert len(pack(full_record("u1"))) < len(encode(full_record("u1"))) * 0.6


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        pack(record("u1", filename="\ud800"))
