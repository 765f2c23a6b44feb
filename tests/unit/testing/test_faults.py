"""Trouble on demand: what the suites of crashes rely on."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import pytest

from penstock.bus.base import Bus
from penstock.bus.local import LocalBus
from penstock.clock import SystemClock
from penstock.events.types import BytesReceived
from penstock.store.base import RevisionConflict, StoreUnavailable
from penstock.store.memory import MemoryStore
from penstock.testing import ManualClock, eventually
from penstock.testing.bus_contract import BusContract, Listener, received
from penstock.testing.faults import Faults, Killed, delay, die, fail, hold
from penstock.testing.store_contract import KeepsOrder
from penstock.testing.store_contract.records import NOW, collect, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from penstock.store.base import ProgressStore

AWAY = StoreUnavailable("no answer within 5 s")


class Port:
    """A port with a method of each kind."""

    durable = True

    def __init__(self) -> None:
        self.log: list[str] = []

    async def __aenter__(self) -> Self:
        self.log.append("open")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.log.append("close")

    async def save(self, what: str, *, force: bool = False) -> str:
        self.log.append(f"save {what}{' forced' if force else ''}")
        return what.upper()

    def path(self, what: str) -> str:
        self.log.append(f"path {what}")
        return f"/{what}"

    def later(self, what: str) -> Awaitable[str]:
        return self.save(what)

    def all(self) -> AsyncIterator[int]:
        return self._all()

    async def _all(self) -> AsyncIterator[int]:
        try:
            for number in range(3):
                self.log.append(f"item {number}")
                yield number
        finally:
            self.log.append("end of items")

    @asynccontextmanager
    async def append(self, what: str) -> AsyncIterator[Appender]:
        self.log.append(f"begin {what}")
        try:
            yield Appender(self.log)
        finally:
            self.log.append(f"end {what}")


class Appender:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def write(self, chunk: str) -> None:
        self.log.append(f"write {chunk}")


@runtime_checkable
class SupportsPath(Protocol):
    def path(self, what: str) -> str: ...


@runtime_checkable
class SupportsTeleport(Protocol):
    def teleport(self, what: str) -> str: ...


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def wrapped(faults: Faults, port: Port) -> Port:
    return faults.wrap("port", port)


async def use(port: Port) -> list[Any]:
    """Call each kind of method once."""
    results: list[Any] = []
    async with port as opened:
        results += [opened is port, await port.save("a", force=True), port.path("b"), await port.later("c")]
        results.append([number async for number in port.all()])
        async with port.append("d") as appender:
            await appender.write("e")
    return results


async def test_without_trouble_everything_is_passed_on(port: Port, wrapped: Port, faults: Faults) -> None:
    plain = Port()
    assert await use(wrapped) == await use(plain)
    assert port.log == plain.log
    assert faults.counts == {
        "port.__aenter__": 1,
        "port.save": 1,
        "port.path": 1,
        "port.later": 1,
        "port.all": 1,
        "port.all.next": 4,
        "port.append": 1,
        "port.append.write": 1,
    }


def test_it_has_the_attributes_and_abilities_of_the_port(port: Port, wrapped: Port) -> None:
    assert wrapped.durable is True
    assert isinstance(wrapped, Port)
    assert isinstance(wrapped, SupportsPath)
    assert not isinstance(wrapped, SupportsTeleport)
    assert not hasattr(wrapped, "teleport")
    wrapped.durable = False
    assert port.durable is False
    assert repr(wrapped).startswith("<port, with faults, around <")


async def test_a_failure_before_the_nth_call(port: Port, wrapped: Port, faults: Faults) -> None:
    faults.before("port.save", fail(AWAY), number=2)
    assert await wrapped.save("a") == "A"
    with pytest.raises(StoreUnavailable):
        await wrapped.save("b")
    assert await wrapped.save("c") == "C"
    assert port.log == ["save a", "save c"]


async def test_a_failure_after_the_nth_call(port: Port, wrapped: Port, faults: Faults) -> None:
    await wrapped.save("counted before the plan was made")
    faults.after("port.save", fail(AWAY), number=1)
    with pytest.raises(StoreUnavailable):
        await wrapped.save("a")
    assert await wrapped.save("b") == "B"
    assert port.log[1:] == ["save a", "save b"]


async def test_a_failure_of_each_call(port: Port, wrapped: Port, faults: Faults) -> None:
    faults.before("port.save", fail(AWAY))
    for what in "abc":
        with pytest.raises(StoreUnavailable):
            await wrapped.save(what)
    assert port.log == []


async def test_a_failure_of_calls_with_certain_arguments(port: Port, wrapped: Port, faults: Faults) -> None:
    faults.before("port.save", fail(AWAY), number=2, where=lambda what, **_: what == "x")
    for what in "xaya":
        await wrapped.save(what)
    with pytest.raises(StoreUnavailable):
        await wrapped.save("x", force=True)
    assert port.log == ["save x", "save a", "save y", "save a"]


async def test_what_is_planned_together_happens_in_order(wrapped: Port, faults: Faults) -> None:
    gate = asyncio.Event()
    faults.before("port.save", hold(gate), number=1)
    faults.before("port.save", fail(AWAY), number=1)
    call = asyncio.create_task(wrapped.save("a"))
    await asyncio.sleep(0.01)
    assert not call.done()
    gate.set()
    with pytest.raises(StoreUnavailable):
        await call


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_delay(port: Port, wrapped: Port, faults: Faults, when: str) -> None:
    clock = ManualClock()
    getattr(faults, when)("port.save", delay(timedelta(seconds=5), clock))
    call = asyncio.create_task(wrapped.save("a"))
    await clock.advance(timedelta(seconds=4.9))
    assert not call.done()
    assert port.log == (["save a"] if when == "after" else [])
    await clock.advance(timedelta(seconds=0.1))
    assert await call == "A"


async def test_repeats(port: Port, wrapped: Port, faults: Faults) -> None:
    faults.repeat("port.save", 2)
    assert await wrapped.save("a", force=True) == "A"
    assert port.log == ["save a forced"] * 3
    assert faults.counts["port.save"] == 1


async def test_trouble_with_other_kinds_of_calls(port: Port, wrapped: Port, faults: Faults) -> None:
    for call in ("port.path", "port.later", "port.all", "port.append", "port.append.write", "port.__aenter__"):
        faults.before(call, fail(AWAY), number=1)
        faults.after(call, fail(AWAY), number=2)

    async def listing() -> list[int]:
        return [number async for number in wrapped.all()]

    async def appending() -> None:
        async with wrapped.append("x"):
            pass

    async def writing() -> None:
        async with wrapped.append("x") as appender:
            await appender.write("y")

    async def opening() -> None:
        async with wrapped:
            pass

    async def path() -> str:
        return wrapped.path("x")

    async def later() -> str:
        return await wrapped.later("x")

    made: tuple[tuple[Callable[[], Awaitable[Any]], list[str]], ...] = (
        (path, ["path x"]),
        (later, ["save x"]),
        (listing, ["item 0", "item 1", "item 2", "end of items"]),
        (appending, ["begin x", "end x"]),
        (writing, ["begin x", "write y", "end x"]),
        (opening, ["open"]),
    )
    for make, effect in made:
        for done in (["begin x", "end x"] if make is writing else [], effect):
            port.log.clear()
            with pytest.raises(StoreUnavailable):
                await make()
            assert port.log == done


async def test_trouble_in_the_middle_of_a_listing_ends_it(port: Port, wrapped: Port, faults: Faults) -> None:
    faults.before("port.all.next", fail(AWAY), number=3)
    seen: list[int] = []

    async def listing() -> None:
        async for number in wrapped.all():
            seen.append(number)  # noqa: PERF401  # what came before the trouble counts

    with pytest.raises(StoreUnavailable):
        await listing()
    assert seen == [0, 1]
    assert port.log[-1] == "end of items"


async def test_after_a_context_means_after_it_was_left_without_an_error(wrapped: Port, faults: Faults) -> None:
    faults.after("port.append", fail(AWAY))

    async def appending() -> None:
        async with wrapped.append("x"):
            raise KeyError("mine")

    with pytest.raises(KeyError):
        await appending()


async def test_delays_before_what_is_iterated_or_entered(port: Port, wrapped: Port, faults: Faults) -> None:
    gate = asyncio.Event()
    faults.before("port.all", hold(gate))
    faults.before("port.append", hold(gate))
    faults.before("port.later", hold(gate))
    using = asyncio.create_task(use(wrapped))
    await asyncio.sleep(0.01)
    assert port.log == ["open", "save a forced", "path b"]
    gate.set()
    assert await using == await use(Port())


def test_a_call_that_is_not_awaited_cannot_wait(wrapped: Port, faults: Faults) -> None:
    faults.after("port.path", hold(asyncio.Event()))
    with pytest.raises(TypeError, match=r"port\.path is not awaited"):
        wrapped.path("a")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_after_death_nothing_has_an_effect_on_any_port(faults: Faults, when: str) -> None:
    one, other = Port(), Port()
    wrapped, wrapped_other = faults.wrap("one", one), faults.wrap("other", other)
    getattr(faults, when)("one.save", die(), number=2)

    async def life() -> None:
        async with wrapped:
            await wrapped.save("a")
            try:
                await wrapped.save("b")
            except Exception:  # noqa: BLE001  # a handler that takes everything for an error, as there are
                await wrapped.save("c")
            finally:
                with pytest.raises(Killed):
                    wrapped_other.path("d")

    with pytest.raises(Killed):
        await life()
    assert faults.is_dead
    # What is open is closed all the same, or the test would leak it.
    assert one.log == ["open", "save a", *(["save b"] if when == "after" else []), "close"]
    assert other.log == []
    with pytest.raises(Killed):
        await wrapped.save("x")
    for call in (wrapped.path, wrapped.append):
        with pytest.raises(Killed):
            call("x")
    with pytest.raises(Killed):
        wrapped.all()


async def test_who_is_in_a_call_when_another_one_dies_learns_of_nothing(faults: Faults) -> None:
    gate = asyncio.Event()
    port = Port()
    wrapped = faults.wrap("port", port)
    faults.before("port.save", hold(gate), where=lambda what, **_: what == "slow")
    faults.before("port.save", die(), where=lambda what, **_: what == "deadly")
    slow = asyncio.create_task(wrapped.save("slow"))
    await asyncio.sleep(0)
    with pytest.raises(Killed):
        await wrapped.save("deadly")
    gate.set()
    with pytest.raises(Killed):
        await slow
    assert port.log == []


async def test_handlers_of_a_bus_meet_trouble_too(faults: Faults) -> None:
    listener = Listener()
    bus: Bus = faults.wrap("bus", LocalBus(SystemClock()))
    faults.repeat("bus.subscribe.handler")
    faults.after("bus.subscribe.handler", fail(AWAY), number=1)
    async with bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await bus.publish(received("u1"))
        await eventually(lambda: listener.uploads == ["u1"] * 4)
        await eventually(lambda: bus.pending("g") == 0)
    assert faults.counts["bus.subscribe.handler"] == 2


async def test_a_handler_that_dies_takes_everything_along(faults: Faults) -> None:
    bus: Bus = faults.wrap("bus", LocalBus(SystemClock()))
    faults.before("bus.subscribe.handler", die(), number=2)
    listener = Listener()

    async def life() -> None:
        async with bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
            await bus.publish(received("u1"), received("u2"), received("u3"))
            await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup) as raised:
        await life()
    assert raised.group_contains(Killed)
    assert listener.uploads == ["u1"]


async def test_a_lost_answer_of_a_store(faults: Faults) -> None:
    store: ProgressStore = faults.wrap("store", MemoryStore())
    faults.after("store.save", fail(AWAY), number=1)
    async with store:
        with pytest.raises(StoreUnavailable):
            await store.save(record("u1"), expected=None)
        with pytest.raises(RevisionConflict):
            await store.save(record("u1"), expected=None)
        assert await collect(store.in_step("virusscan")) == ["u1"]
        assert await store.due(NOW, limit=1) == []


async def test_nothing_is_left_unawaited(wrapped: Port, faults: Faults) -> None:
    faults.before("port.save", fail(AWAY))
    faults.before("port.later", fail(AWAY))
    with pytest.raises(StoreUnavailable):
        await wrapped.save("a")
    with pytest.raises(StoreUnavailable):
        await wrapped.later("a")
    gc.collect()  # an unawaited coroutine warns here, and warnings are errors


PROGRAM = """
import asyncio, sys
from penstock.testing.faults import Faults, kill_process

class Port:
    async def save(self, what):
        print("saved", what, flush=True)

async def main():
    faults = Faults()
    getattr(faults, sys.argv[1])("port.save", kill_process(), number=int(sys.argv[2]))
    port = faults.wrap("port", Port())
    try:
        for what in "abc":
            await port.save(what)
    finally:
        print("cleaned up", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize(("when", "number"), [("before", "2"), ("after", "1")])
async def test_a_real_death_leaves_no_time_for_anything(when: str, number: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, when, number),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    out, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert out.decode() == "saved a\n"


class TestStoreBehindFaults(KeepsOrder):
    """A store that is wrapped and not troubled is a store like any other."""

    def open_store(self) -> AbstractAsyncContextManager[ProgressStore]:
        return Faults().wrap("store", MemoryStore())


class TestBusBehindFaults(BusContract):
    """A bus that is wrapped and not troubled is a bus like any other."""

    def new_bus(self) -> Bus:
        return Faults().wrap("bus", LocalBus(SystemClock()))
