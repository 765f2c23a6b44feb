"""The index of steps and timers."""

from __future__ import annotations

import random
import tracemalloc
from datetime import timedelta

from penstock.core.progress import FINISHED
from penstock.store.streams.index import Index
from penstock.testing.store_contract.records import NOW, SECOND, record


def test_the_later_version_counts_in_whatever_order_they_come() -> None:
    index = Index()
    index.put(record("u1", FINISHED, due=SECOND), 7)
    index.put(record("u1", "virusscan", due=-SECOND), 5)
    assert (index.counts(), index.next_due(), index.seq_of("u1")) == ({FINISHED: 1}, NOW + SECOND, 7)
    index.remove("u1", 6)
    assert index.counts() == {FINISHED: 1}


def test_what_was_removed_does_not_come_back_by_what_the_stream_tells_late() -> None:
    index = Index()
    index.put(record("u1"), 5)
    index.remove("u1", 9)
    index.put(record("u1"), 8)
    assert (len(index), index.counts()) == (0, {})
    index.told_until(9)
    index.put(record("u1"), 10)
    assert list(index.ids()) == ["u1"]


def test_what_was_written_here_is_known_until_the_stream_has_told_of_it() -> None:
    index = Index()
    for seq in (3, 5, 9):
        index.wrote(seq)
    assert [seq for seq in range(12) if index.is_written_here(seq)] == [3, 5, 9]
    index.told_until(5)
    assert [seq for seq in range(12) if index.is_written_here(seq)] == [9]
    index.wrote(4)  # the stream was faster than the answer to who wrote
    assert not index.is_written_here(4)
    index.clear()
    assert not index.is_written_here(9)


def test_what_is_not_there_is_forgotten_unless_it_was_written_meanwhile() -> None:
    index = Index()
    index.put(record("u1", due=SECOND), 5)
    index.put(record("u1", due=2 * SECOND), 6)
    index.forget("u1", 5)
    assert index.next_due() == NOW + 2 * SECOND
    index.forget("u1", 6)
    index.forget("unknown", 0)
    assert (index.next_due(), index.counts(), index.seq_of("u1")) == (None, {}, 0)


def test_removals_are_remembered_no_longer_than_the_stream_needs() -> None:
    index = Index()
    tracemalloc.start()
    try:
        for seq in range(0, 40_000, 2):
            index.put(record("u" + str(seq)), seq + 1)
            index.remove("u" + str(seq), seq + 2)
            if seq % 500 == 0:
                index.told_until(seq)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 300_000


def test_a_record_needs_less_than_half_a_kilobyte() -> None:
    tracemalloc.start()
    try:
        index = Index()
        for seq in range(20_000):
            progress = record(f"0b2d9c2e-6b0f-4f57-9a9e-{seq:012}", due=seq * SECOND)
            index.put(progress, seq + 1)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 20_000 * 512
    assert index.counts() == {"virusscan": 20_000}


def test_timers_of_former_versions_do_not_add_up() -> None:
    index, chance = Index(), random.Random(1)
    for seq in range(1, 20_000):
        index.put(record(f"u{chance.randrange(10)}", due=timedelta(seconds=chance.randrange(1000))), seq)
    assert len(index._timers) < 1100
    assert len(index.due(NOW + 1000 * SECOND, 100)) == 10


def test_only_as_many_as_asked_for_are_due_and_they_stay_due() -> None:
    index = Index()
    for number in range(5):
        index.put(record(f"u{number}", due=-number * SECOND), number + 1)
    assert index.due(NOW, 2) == ["u4", "u3"]
    assert index.due(NOW, 9) == ["u4", "u3", "u2", "u1", "u0"]
    assert index.ids_in_step("virusscan") == ["u0", "u1", "u2", "u3", "u4"]
    assert index.ids_in_step("unknown") == []
    index.clear()
    assert (len(index), index.due(NOW, 9), index.counts()) == (0, [], {})
