"""What is particular to the bus for one process; what every bus does is in tests/contract."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from penstock.bus.base import BusUnavailable
from penstock.bus.local import LocalBus
from penstock.clock import SystemClock
from penstock.errors import Unavailable
from penstock.events.types import BytesReceived, RestartPostprocessing
from penstock.testing import ManualClock, eventually
from penstock.testing.bus_contract import Listener, received

if TYPE_CHECKING:
    from penstock.events.types import Envelope


class Died(BaseException):
    """Ends a handler the way the end of a process does."""


@pytest.mark.parametrize(("workers", "types"), [(0, [BytesReceived]), (-1, [BytesReceived]), (1, [])])
async def test_a_subscription_that_would_do_nothing_is_refused(workers: int, types: list[type]) -> None:
    async with LocalBus(SystemClock()) as bus:
        with pytest.raises(ValueError, match="would do nothing"):
            async with bus.subscribe("g", types, Listener(), workers=workers):
                pass


async def test_what_nobody_wants_is_dropped() -> None:
    listener = Listener()
    async with LocalBus(SystemClock()) as bus:
        await bus.publish(received("too early"))
        async with bus.subscribe("g", [RestartPostprocessing], listener, workers=1):
            await bus.publish(received("not wanted"))
            assert bus.pending("g") == 0
        async with bus.subscribe("g", [BytesReceived], listener, workers=1):
            await bus.publish(received("u1"))
            await eventually(lambda: listener.uploads == ["u1"])


async def test_pauses_grow_and_a_jump_of_the_wall_clock_changes_nothing() -> None:
    clock = ManualClock()
    tries: list[float] = []

    async def handler(_: Envelope) -> None:
        tries.append(clock.monotonic())
        raise Unavailable("the store is away")

    async with LocalBus(clock) as bus, bus.subscribe("g", [BytesReceived], handler, workers=1):
        await bus.publish(received("u1"))
        for _ in range(4):
            await clock.advance(timedelta(seconds=0.4))
            clock.jump(timedelta(days=-1))
        assert bus.failures("g") == len(tries)
        assert bus.pending("g") == 1
    assert tries == pytest.approx([0.0, 0.1, 0.3, 0.7, 1.5], abs=0.002)


async def test_a_failure_is_logged_with_its_facts_and_a_trace_only_if_unforeseen() -> None:
    errors: list[Exception] = [Unavailable("no answer within 5 s"), ZeroDivisionError()]

    async def handler(_: Envelope) -> None:
        if errors:
            raise errors.pop(0)

    with capture_logs() as logs:
        async with LocalBus(SystemClock()) as bus, bus.subscribe("g", [BytesReceived], handler, workers=1):
            await bus.publish(received("u1", event_id="e1"))
            await eventually(lambda: bus.pending("g") == 0)
    foreseen, unforeseen = logs
    assert foreseen == {
        "event": "event_handler_failed",
        "log_level": "warning",
        "group": "g",
        "event_type": "BytesReceived",
        "event_id": "e1",
        "upload": "u1",
        "failures": 1,
        "again_after_seconds": 0.1,
        "error": "no answer within 5 s",
        "exc_info": None,
    }
    assert unforeseen["error"] == "ZeroDivisionError"
    assert isinstance(unforeseen["exc_info"], ZeroDivisionError)


async def test_nothing_has_failed_in_a_group_that_is_not_known() -> None:
    async with LocalBus(SystemClock()) as bus:
        assert bus.failures("g") == 0


async def test_a_full_group_refuses_those_outside_but_never_its_handlers() -> None:
    gate = asyncio.Event()
    ended: list[str] = []

    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(LocalBus(SystemClock(), max_pending=10))

        async def publish_more(upload: str) -> None:
            await bus.publish(*(received(f"{upload}.{number}") for number in range(5)))

        async def handler(envelope: Envelope) -> None:
            await gate.wait()
            upload = envelope.event.upload_id
            if "." not in upload:
                # Also from a task that the handler has started.
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(publish_more(upload))
            ended.append(upload)

        await stack.enter_async_context(bus.subscribe("g", [BytesReceived], handler, workers=2))
        other = Listener()
        await stack.enter_async_context(bus.subscribe("other", [BytesReceived], other, workers=1))
        known = received("u0", event_id="e0")
        await bus.publish(known, *(received(f"u{number}") for number in range(1, 10)))
        with pytest.raises(BusUnavailable, match=r"'g' has 10 events waiting.*BytesReceived e-new"):
            await bus.publish(received("too much", event_id="e-new"))
        await bus.publish(known)  # it is there already: needs no room
        gate.set()
        await eventually(lambda: bus.pending("g") == 0)
        await bus.publish(received("again."))
        await eventually(lambda: ended[-1:] == ["again."])
        await eventually(lambda: bus.pending("other") == 0)
    assert len(ended) == 10 + 50 + 1
    assert "too much" not in other.uploads  # one group full: no group got it


async def test_a_handler_that_dies_takes_its_subscriber_along() -> None:
    listener = Listener()

    async def dies(envelope: Envelope) -> None:
        if envelope.event.upload_id == "deadly":
            raise Died

    async with LocalBus(SystemClock()) as bus:

        async def subscriber() -> None:
            async with bus.subscribe("g", [BytesReceived], dies, workers=2):
                await bus.publish(received("harmless"), received("deadly"))
                await asyncio.Event().wait()

        with pytest.raises(BaseExceptionGroup) as raised:
            await subscriber()
        assert [type(error) for error in raised.value.exceptions] == [Died]
        async with bus.subscribe("g", [BytesReceived], listener, workers=1):
            await eventually(lambda: listener.uploads == ["deadly"])


async def test_closing_the_bus_ends_subscriptions_that_are_still_open() -> None:
    listener = Listener()
    listener.gate.clear()
    before = asyncio.all_tasks()
    bus = LocalBus(SystemClock())
    async with AsyncExitStack() as stack:
        async with bus:
            await stack.enter_async_context(bus.subscribe("g", [BytesReceived], listener, workers=2))
            await bus.publish(received("u1"), received("u2"), received("u3"))
            await eventually(lambda: listener.running == 2)
        assert (listener.running, listener.cancelled) == (0, 2)
    assert asyncio.all_tasks() == before


async def test_handlers_that_wait_for_nothing_let_others_run() -> None:
    async def handler(_: Envelope) -> None:
        return

    turns_left: list[int] = []
    async with LocalBus(SystemClock()) as bus, bus.subscribe("g", [BytesReceived], handler, workers=4):
        await bus.publish(*(received(f"u{number}") for number in range(2000)))
        while bus.pending("g"):
            turns_left.append(bus.pending("g"))
            await asyncio.sleep(0)
    assert len(turns_left) > 400


async def test_a_publisher_that_is_far_ahead_lets_the_handlers_run() -> None:
    listener = Listener()
    async with LocalBus(SystemClock()) as bus, bus.subscribe("g", [BytesReceived], listener, workers=8):
        for number in range(5000):
            await bus.publish(received(f"u{number}"))
            assert bus.pending("g") < 1100
        await eventually(lambda: len(listener.envelopes) == 5000)


async def test_the_member_with_the_most_idle_workers_gets_the_next_event() -> None:
    small, large = Listener(), Listener()
    small.gate.clear()
    large.gate.clear()
    async with (
        LocalBus(SystemClock()) as bus,
        bus.subscribe("g", [BytesReceived], small, workers=2),
        bus.subscribe("g", [BytesReceived], large, workers=6),
    ):
        await eventually(lambda: len(asyncio.all_tasks()) >= 8)
        await asyncio.sleep(0)
        for number in range(4):
            await bus.publish(received(f"u{number}"))
        await eventually(lambda: large.running == 4)
        assert small.running == 0
