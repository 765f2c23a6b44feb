"""Which uploads are held, whatever order the news comes in."""

from __future__ import annotations

import itertools

import pytest

from penstock.steps.held import Held


def test_news_of_the_very_attempt_that_failed_changes_nothing_however_late_it_comes() -> None:
    # The coordinator says an event again when its confirmation is late: whoever listens hears it twice.
    held = Held()
    assert held.started("one", "attempt 1")
    held.hold("one", "attempt 1")
    assert not held.started("one", "attempt 1")
    held.hold("one", "attempt 2")
    assert not held.started("one", "attempt 1")
    assert held.take() == ["one"]


def test_another_attempt_ends_the_wait() -> None:
    held = Held()
    held.hold("one", "attempt 1")
    assert held.started("one", "attempt 2")
    assert len(held) == 0


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(["hold", "heard", "heard", "heard"]))))
def test_an_upload_is_held_whenever_its_start_is_heard(order: tuple[str, ...]) -> None:
    held = Held()
    for what in order:
        if what == "hold":
            held.hold("one", "attempt 1")
        else:
            held.started("one", "attempt 1")
    assert held.take() == ["one"]


def test_what_may_be_the_trouble_itself_is_held_once_until_it_has_come_to_an_end() -> None:
    held = Held()
    assert held.hold_once("one", "attempt 1")
    assert held.take() == ["one"]
    assert not held.hold_once("one", "attempt 2")
    assert held.take() == []
    held.cleared("one")
    assert held.hold_once("one", "attempt 3")


def test_the_oldest_are_forgotten_first() -> None:
    held = Held(limit=2)
    for name in ("one", "two", "one", "three"):
        held.hold(name)
    assert held.take() == ["one", "three"]
