"""What removals leave behind, and when it goes."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest

from penstock.store.base import StoreUnavailable
from penstock.store.streams.markers import GRACE, Markers
from penstock.store.streams.stream import Stream
from penstock.testing.clock import ManualClock


class Purges:
    """A stream that notes what is purged."""

    def __init__(self) -> None:
        self.purged: list[tuple[str, int | None]] = []
        self.away = False

    async def purge(self, subject: str, *, before: int | None = None) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.purged.append((subject, before))


@pytest.fixture
def stream() -> Purges:
    return Purges()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def markers(stream: Purges, clock: ManualClock) -> Markers:
    return Markers(cast("Stream", stream), clock)


async def test_a_marker_goes_after_its_time_and_nothing_that_was_written_after_it(
    markers: Markers, stream: Purges, clock: ManualClock
) -> None:
    markers.offer("a", 5)
    await clock.advance(GRACE - timedelta(seconds=1))
    markers.offer("b", 6)
    assert await markers.sweep() == 0
    await clock.advance(timedelta(seconds=1))
    assert await markers.sweep() == 1
    assert stream.purged == [("a", 6)]
    assert len(markers) == 1


async def test_a_later_marker_takes_the_place_of_the_earlier_one(
    markers: Markers, stream: Purges, clock: ManualClock
) -> None:
    markers.offer("a", 5)
    await clock.advance(GRACE / 2)
    markers.offer("a", 9)
    markers.offer("a", 5)
    await clock.advance(GRACE / 2)
    assert await markers.sweep() == 0
    await clock.advance(GRACE / 2)
    assert await markers.sweep() == 1
    assert stream.purged == [("a", 10)]


async def test_a_round_takes_a_part_of_many(markers: Markers, stream: Purges, clock: ManualClock) -> None:
    for number in range(25_000):
        markers.offer(f"s{number}", number + 1)
    assert len(markers) == 20_000  # the others are met again
    await clock.advance(GRACE)
    assert await markers.sweep() == 200
    assert len(stream.purged) == len(set(stream.purged)) == 200


async def test_what_could_not_be_taken_away_is_tried_again(
    markers: Markers, stream: Purges, clock: ManualClock
) -> None:
    markers.offer("a", 5)
    await clock.advance(GRACE)
    stream.away = True
    with pytest.raises(StoreUnavailable):
        await markers.sweep()
    stream.away = False
    assert await markers.sweep() == 1
    assert await markers.sweep() == 0


async def test_where_purging_is_denied_nothing_is_remembered(
    markers: Markers, stream: Purges, clock: ManualClock
) -> None:
    markers.allowed = False
    markers.offer("a", 5)
    await clock.advance(GRACE)
    assert await markers.sweep() == 0
    assert stream.purged == []


async def test_markers_of_a_stream_that_was_replaced_are_forgotten(
    markers: Markers, stream: Purges, clock: ManualClock
) -> None:
    markers.offer("a", 5)
    markers.clear()
    await clock.advance(GRACE)
    assert await markers.sweep() == 0
