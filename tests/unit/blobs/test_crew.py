"""Threads that work for an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import NoReturn

import pytest

from penstock.blobs.local.crew import Crew
from penstock.testing import eventually


async def test_what_work_returns_and_raises_reaches_who_asked() -> None:
    crew = Crew(2, "crew")
    assert await crew.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await crew.run(divmod, 7, 0)
    assert await crew.run(threading.get_ident) != threading.get_ident()
    crew.close()


async def test_no_more_threads_than_were_asked_for_and_none_before_there_is_work() -> None:
    crew, before, gate = Crew(2, "some-name"), threading.active_count(), threading.Event()
    assert threading.active_count() == before
    work = [crew.run(gate.wait) for _ in range(5)]
    names = {thread.name for thread in threading.enumerate()}
    assert {name for name in names if name.startswith("some-name")} == {"some-name-0", "some-name-1"}
    gate.set()
    assert await asyncio.gather(*work) == [True] * 5
    crew.close()
    assert threading.active_count() == before


async def test_one_thread_is_enough_where_one_waits_for_the_other() -> None:
    crew = Crew(4, "alone")
    for number in range(20):
        assert await crew.run(abs, -number) == number
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("alone")] == ["alone-0"]
    crew.close()


async def test_work_is_done_also_when_nobody_waits_for_it_any_more() -> None:
    crew, gate, done = Crew(1, "crew"), threading.Event(), threading.Event()
    first = crew.run(gate.wait)
    second = crew.run(done.set)
    second.cancel()
    gate.set()
    await first
    await eventually(done.is_set)
    assert await crew.run(abs, -1) == 1
    crew.close()


def test_closing_finishes_what_was_asked_for() -> None:
    done: list[int] = []

    async def ask() -> Crew:
        crew = Crew(3, "crew")
        for number in range(100):
            crew.run(done.append, number)
        return crew

    crew = asyncio.run(ask())
    crew.close()
    assert sorted(done) == list(range(100))


async def test_work_goes_on_with_fewer_threads_where_the_system_has_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    crew, start = Crew(2, "few"), threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        crew.run(abs, -1)
    monkeypatch.setattr(threading.Thread, "start", start)
    gate = threading.Event()
    first = crew.run(gate.wait)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    second = crew.run(abs, -2)
    gate.set()
    assert (await first, await second) == (True, 2)
    crew.close()
