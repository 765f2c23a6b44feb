"""Stretches of upload IDs: all IDs are in one of them, and few in each."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.store.etcd import keys, stretches
from penstock.store.etcd.client import EtcdClient
from penstock.store.etcd.stretches import Stretch
from penstock.store.etcd.wire import KeyValue, Range


class Records:
    """Answers for a client, from a list of keys."""

    def __init__(self, uploads: set[bytes]) -> None:
        self._keys = sorted(keys.RECORDS + upload for upload in uploads)
        self.asked = 0

    async def range(self, start: bytes, end: bytes, **options: Any) -> Range:
        self.asked += 1
        found = [key for key in self._keys if start <= key < end]
        return Range(tuple(map(KeyValue, found[: options["limit"]])), len(found) > options["limit"], len(found))


async def cut(records: Records, most: int) -> list[Stretch]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stretches, "_RECORDS", most)
        return [stretch async for stretch in stretches.stretches(cast("EtcdClient", records))]


@given(st.sets(st.one_of(st.binary(min_size=1, max_size=6), st.text("ab", min_size=1, max_size=5).map(str.encode))))
async def test_every_id_is_in_one_of_them_and_none_holds_many(uploads: set[bytes]) -> None:
    found = await cut(Records(uploads), 3)
    assert (found[0].start, found[-1].end) == (b"", None)
    assert [one.end for one in found[:-1]] == [one.start for one in found[1:]]
    for stretch in found:
        start, end = stretch.keys_with(keys.RECORDS)
        assert sum(start <= keys.RECORDS + upload < end for upload in uploads) <= 3


async def test_random_ids_are_cut_with_few_questions() -> None:
    records = Records({f"{number * 7919 % 4096:03x}".encode() for number in range(4096)})
    assert len(await cut(records, 300)) == 16
    assert records.asked < 40


async def test_few_records_are_one_stretch() -> None:
    records = Records({b"a", b"b"})
    assert await cut(records, 2) == [stretches.ALL]
    assert records.asked == 1
