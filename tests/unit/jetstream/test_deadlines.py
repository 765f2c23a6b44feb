"""One timer of the event loop gives up all that waits for too long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from penstock.jetstream import Deadlines
from penstock.testing import eventually

if TYPE_CHECKING:
    import pytest


async def test_what_waits_for_too_long_is_given_up_once() -> None:
    lapsed: list[str] = []
    deadlines = Deadlines(lapsed.append)
    deadlines.add("later", 1)
    deadlines.add("sooner", 0.02)
    deadlines.add("never", 3600)
    await eventually(lambda: len(lapsed) == 2)
    assert lapsed == ["sooner", "later"]
    deadlines.add("last", 0.01)
    await eventually(lambda: len(lapsed) == 3)
    assert lapsed == ["sooner", "later", "last"]
    deadlines.close()


async def test_nothing_is_given_up_before_its_time() -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    deadlines: Deadlines[str] = Deadlines(lambda _: told.set())
    began = loop.time()
    deadlines.add("first", 0.01)
    deadlines.remove("first")
    deadlines.add("second", 0.05)
    await told.wait()
    assert loop.time() - began >= 0.05


async def test_what_is_removed_in_time_is_not_given_up() -> None:
    lapsed: list[str] = []
    deadlines = Deadlines(lapsed.append)
    deadlines.add("answered", 0.01)
    deadlines.add("not answered", 0.02)
    deadlines.remove("answered")
    deadlines.remove("answered")
    await eventually(lambda: bool(lapsed))
    assert lapsed == ["not answered"]


async def test_who_lapses_may_answer_for_others() -> None:
    lapsed: list[str] = []

    def lapse(one: str) -> None:
        lapsed.append(one)
        deadlines.remove("other" if one == "one" else "one")

    deadlines = Deadlines(lapse)
    deadlines.add("one", 0)
    deadlines.add("other", 0)
    await eventually(lambda: bool(lapsed))
    await asyncio.sleep(0)
    assert lapsed == ["one"]


async def test_nothing_is_given_up_after_the_end() -> None:
    lapsed: list[str] = []
    deadlines = Deadlines(lapsed.append)
    deadlines.add("waits", 0.01)
    deadlines.close()
    other = Deadlines(lapsed.append)
    other.add("goes on", 0.02)
    await eventually(lambda: bool(lapsed))
    assert lapsed == ["goes on"]


async def test_a_thousand_that_are_answered_in_time_take_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, timers = asyncio.get_running_loop(), list[float]()
    call_at = loop.call_at

    def counted(when: float, *rest: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *rest, **options)

    monkeypatch.setattr(loop, "call_at", counted)
    deadlines: Deadlines[int] = Deadlines(lambda _: None)
    for number in range(1000):
        deadlines.add(number, 5)
        deadlines.remove(number)
    deadlines.close()
    assert len(timers) == 1
