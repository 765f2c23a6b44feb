"""Who says nothing new for long is dead, whatever the database's clock says."""

from __future__ import annotations

from datetime import timedelta

from penstock.testing import ManualClock
from penstock.uploads.locking.last_words import LastWords

SECOND = timedelta(seconds=1)


async def test_words_that_stay_the_same_for_too_long_are_the_last() -> None:
    clock = ManualClock()
    words = LastWords(10, clock.monotonic)
    for alive_until in (5, 6):  # the second time, it was heard in between
        assert words.heard("a", alive_until) is None
        await clock.advance(10 * SECOND)
        assert words.heard("a", alive_until) is None
    await clock.advance(SECOND)
    clock.jump(timedelta(hours=-1))
    assert (words.heard("b", 6), words.heard("a", 6)) == (None, 6)
    words.forget("a")
    assert words.heard("a", 6) is None


async def test_of_many_those_who_say_nothing_new_are_found_once() -> None:
    clock = ManualClock()
    words = LastWords(10, clock.monotonic)
    assert words.silent({"a": 1, "b": 1}) == {}
    await clock.advance(11 * SECOND)
    assert words.silent({"a": 1, "b": 2}) == {"a": 1}
    assert words.silent({"a": 1, "b": 2}) == {}


async def test_no_more_are_kept_than_a_thousand() -> None:
    clock = ManualClock()
    words = LastWords(10, clock.monotonic)
    words.heard("first", 1)
    for number in range(999):
        words.heard(str(number), 1)
    await clock.advance(11 * SECOND)
    assert words.heard("first", 1) == 1
    words.heard("one more", 1)
    assert len(words._heard) == 1
    assert words.heard("first", 1) is None
