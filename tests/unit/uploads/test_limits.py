from __future__ import annotations

import pytest

from penstock.blobs.base import StorageFull
from penstock.uploads.errors import TooLarge
from penstock.uploads.limits import Promises, check_room, check_size


def test_a_size_up_to_the_limit_is_taken() -> None:
    check_size(100, 100)
    check_size(1 << 60, None)
    with pytest.raises(TooLarge, match=r"101 bytes are more than .* max_size is 100"):
        check_size(101, 100)


def test_room_is_what_is_free_and_neither_promised_nor_kept_back() -> None:
    check_room(50, free_bytes=100, promised_bytes=40, spare_bytes=10)
    with pytest.raises(StorageFull, match=r"51 bytes do not fit: of 100 free bytes, 40 are promised .* 10 are kept"):
        check_room(51, free_bytes=100, promised_bytes=40, spare_bytes=10)


def test_promises_add_up_and_end() -> None:
    promises = Promises(earlier_bytes=1000)
    promises.begin("a", 100)
    promises.begin("b", 50)
    assert promises.total_bytes == 1150
    assert promises.change("a", 30) == 70
    assert promises.of("a") == 30
    assert promises.end("b") == 50
    assert promises.end("b") == 0
    assert promises.total_bytes == 1030


def test_a_count_replaces_what_was_known_of_uploads_in_the_catalogue() -> None:
    promises = Promises(earlier_bytes=1000)
    promises.begin("a", 100)
    promises.entered("a")
    settled = promises.settled()
    promises.replace({"a": 60, "earlier": 7}, settled)
    assert promises.total_bytes == 67


def test_what_happens_during_a_count_stays_true() -> None:
    promises = Promises()
    for upload in ("ends", "stays"):
        promises.begin(upload, 100)
        promises.entered(upload)
    promises.begin("not yet entered", 5)
    settled = promises.settled()
    promises.begin("begins meanwhile", 3)
    promises.end("ends")
    promises.replace({"ends": 40, "stays": 20}, settled)
    assert [promises.of(upload) for upload in ("ends", "stays", "not yet entered", "begins meanwhile")] == [0, 20, 5, 3]
    assert promises.total_bytes == 28
