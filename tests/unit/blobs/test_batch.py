from __future__ import annotations

from penstock.blobs.filling import LEAST_BYTES
from penstock.blobs.local.batch import BATCH_PIECES, Batch
from penstock.blobs.local.sharing import BATCH_BYTES, Sharing

PLENTY = 1 << 40


def of(requests: int) -> Batch:
    """Return a batch of one of so many requests."""
    sharing = Sharing()
    for _ in range(requests):
        sharing.begin()
    return Batch(sharing)


def fill(batch: Batch, data: bytes) -> None:
    space = batch.space(PLENTY)
    assert space is not None
    space[: len(data)] = data
    batch.filled(len(data))


def test_pieces_and_what_was_filled_stay_in_order() -> None:
    batch = of(1)
    batch.add(b"he")
    fill(batch, b"ll")
    fill(batch, b"o ")
    batch.add(b"you")
    assert batch.size_bytes == 9
    assert b"".join(batch.take()) == b"hello you"
    assert (batch.size_bytes, batch.take()) == (0, [])


def test_memory_is_filled_while_the_other_is_written() -> None:
    batch = of(1)
    fill(batch, b"first")
    first = batch.take()
    fill(batch, b"second")
    assert b"".join(first) == b"first", "it is still being written"
    second = batch.take()
    fill(batch, b"third")
    assert b"".join(second) == b"second"
    assert b"".join(first) == b"third", "which was written by now, so its memory is used again"


def test_memory_that_was_not_used_is_offered_again() -> None:
    batch = of(1)
    for space in (batch.space(PLENTY), batch.space(PLENTY)):
        assert space is not None
        space[:1] = b"x"
    batch.filled(1)
    assert b"".join(batch.take()) == b"x"


def test_a_batch_is_full_when_it_has_its_share_and_not_before() -> None:
    batch = of(1)
    batch.add(bytes(300_000))
    fill(batch, bytes(BATCH_BYTES - 300_001))
    assert not batch.is_full()
    space = batch.space(PLENTY)
    assert space is not None
    assert len(space) > LEAST_BYTES
    fill(batch, b"x")
    assert batch.is_full()


def test_a_batch_is_full_when_its_memory_is() -> None:
    batch = of(1)
    space = batch.space(300_000)
    assert space is not None
    batch.filled(len(space) - LEAST_BYTES)
    assert not batch.is_full()
    batch.filled(1)
    assert batch.is_full()
    assert batch.space(300_000) is None


def test_no_more_pieces_come_together_than_the_system_takes_at_once() -> None:
    """Of a client that trickles, each read is one."""
    batch = of(1)
    for _ in range(BATCH_PIECES):
        assert not batch.is_full()
        fill(batch, b"x")
    assert batch.is_full()
    assert len(batch.take()) == BATCH_PIECES


def test_a_batch_of_pieces_is_full_when_they_are_large_or_many() -> None:
    batch = of(1)
    batch.add(bytes(BATCH_BYTES - 1))
    assert not batch.is_full()
    batch.add(b"x")
    assert batch.is_full()
    batch.take()
    for _ in range(BATCH_PIECES):
        assert not batch.is_full()
        batch.add(b"x")
    assert batch.is_full()


def test_no_more_memory_is_kept_than_is_needed_or_there_is_for_each() -> None:
    for requests, wanted, given in (
        (1, PLENTY, BATCH_BYTES),
        (8, PLENTY, BATCH_BYTES),
        (16, PLENTY, BATCH_BYTES // 2),
        (32, PLENTY, BATCH_BYTES // 4),
        (1, 300_000, 300_000),
        (1, 1, 1),
    ):
        space = of(requests).space(wanted)
        assert space is not None
        assert len(space) == given + LEAST_BYTES
    assert of(33).space(PLENTY) is None


def test_memory_is_given_up_when_there_are_more_requests() -> None:
    sharing = Sharing()
    batch = Batch(sharing)
    fill(batch, b"kept")
    for _ in range(16):
        sharing.begin()
    kept = batch.take()
    smaller = batch.space(PLENTY)
    assert smaller is not None
    assert len(smaller) == BATCH_BYTES // 2 + LEAST_BYTES
    for _ in range(1000):
        sharing.begin()
    assert batch.space(PLENTY) is None
    assert b"".join(kept) == b"kept"
