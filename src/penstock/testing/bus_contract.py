"""What every bus must do. A backend's test class derives from `BusContract` and says how to make one.

class TestMyBus(BusContract):
def new_bus(self) -> Bus:
return MyBus(...)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from ..bus.base import BusUnavailable
from ..events.types import BytesReceived, Envelope, PostprocessingStepFinished, RestartPostprocessing
from ..ids import new_event_id
from .eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..bus.base import Bus

SLOW_SECONDS = 90.0
"""For what comes after a pause of the bus, whose length is its own choice."""


def received(upload_id: str, *, event_id: str | None = None) -> Envelope:
    """Return an event about `upload_id` to publish, with a new ID unless one is given."""
    return Envelope(event=BytesReceived(upload_id=upload_id), event_id=new_event_id() if event_id is None else event_id)


def finished(upload_id: str, step: str) -> Envelope:
    """Return an event of another type."""
    event = PostprocessingStepFinished(upload_id=upload_id, finished_step=step, outcome="continue")
    return Envelope(event=event, event_id=new_event_id())


class Listener:
    """A handler that takes down what it gets, and fails or waits on demand."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.failing: Counter[str] = Counter()
        """By upload: how many of its next deliveries fail."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = 0
        self.most_running = 0
        self.cancelled = 0

    async def __call__(self, envelope: Envelope) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            upload = envelope.event.upload_id
            if self.failing[upload] > 0:
                self.failing[upload] -= 1
                raise OSError(f"cannot handle {upload} yet")
            self.envelopes.append(envelope)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    @property
    def uploads(self) -> list[str]:
        """The uploads that events came for, in the order in which they were handled."""
        return [envelope.event.upload_id for envelope in self.envelopes]


class BusContract:
    """The tests."""

    def new_bus(self) -> Bus:
        """Return a bus that is not open yet, and on which nobody else publishes."""
        raise NotImplementedError

    async def test_every_group_gets_every_event_unchanged(self) -> None:
        one, other = Listener(), Listener()
        sent = [
            Envelope(
                event=BytesReceived(upload_id=f"upload {number} é😀", filesize=2**63 + number),
                event_id=new_event_id(),
                initiator_id="client",
                trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                causation_id="cause",
                timestamp="2026-05-01T12:30:00.25Z",
                id=new_event_id(),
            )
            for number in range(20)
        ]
        async with (
            self.new_bus() as bus,
            bus.subscribe("one", [BytesReceived], one, workers=3),
            bus.subscribe("other", [BytesReceived], other, workers=1),
        ):
            await bus.publish(*sent)
            await eventually(lambda: len(one.envelopes) == len(other.envelopes) == 20)
        assert sorted(one.uploads) == sorted(e.event.upload_id for e in sent)
        assert {e.event_id: e for e in one.envelopes} == {e.event_id: e for e in sent}
        assert other.envelopes == sent  # a single worker sees them in the order of publication

    async def test_a_subscription_gets_only_what_it_asks_for(self) -> None:
        steps, restarts, scans = Listener(), Listener(), Listener()

        def is_scan(envelope: Envelope) -> bool:
            event = envelope.event
            return isinstance(event, PostprocessingStepFinished) and event.finished_step == "virusscan"

        async with (
            self.new_bus() as bus,
            bus.subscribe("steps", [PostprocessingStepFinished, BytesReceived], steps, workers=1),
            bus.subscribe("restarts", [RestartPostprocessing], restarts, workers=1),
            bus.subscribe("scans", [PostprocessingStepFinished], scans, workers=1, only=is_scan),
        ):
            await bus.publish(received("u1"), finished("u2", "virusscan"), finished("u3", "ocr"))
            await bus.publish(Envelope(event=RestartPostprocessing(upload_id="u4"), event_id=new_event_id()))
            await eventually(lambda: len(steps.envelopes) == 3 and restarts.envelopes and scans.envelopes)
            await eventually(lambda: not any(map(bus.pending, ("steps", "restarts", "scans"))))
        assert (steps.uploads, restarts.uploads, scans.uploads) == (["u1", "u2", "u3"], ["u4"], ["u2"])

    async def test_subscriptions_of_one_group_share_its_events(self) -> None:
        listeners = [Listener() for _ in range(3)]
        for listener in listeners:
            listener.gate.clear()
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(self.new_bus())
            for listener in listeners:
                await stack.enter_async_context(bus.subscribe("g", [BytesReceived], listener, workers=1))
            await bus.publish(*(received(f"u{number}") for number in range(9)))
            # Whoever is busy leaves the rest to the others.
            await eventually(lambda: [listener.running for listener in listeners] == [1, 1, 1])
            listeners[1].gate.set()
            await eventually(lambda: len(listeners[1].envelopes) == 7)
            for listener in listeners:
                listener.gate.set()
            await eventually(lambda: bus.pending("g") == 0)
        assert sorted(_uploads_of(listeners)) == [f"u{number}" for number in range(9)]

    async def test_subscriptions_of_one_group_get_what_each_asks_for(self) -> None:
        scans, ocr = Listener(), Listener()

        def of(step: str, envelope: Envelope) -> bool:
            return isinstance(envelope.event, PostprocessingStepFinished) and envelope.event.finished_step == step

        async with (
            self.new_bus() as bus,
            bus.subscribe("g", [PostprocessingStepFinished], scans, workers=1, only=lambda e: of("virusscan", e)),
            bus.subscribe("g", [PostprocessingStepFinished], ocr, workers=1, only=lambda e: of("ocr", e)),
        ):
            await bus.publish(*(finished(f"u{n}", "ocr" if n % 2 else "virusscan") for n in range(10)))
            await eventually(lambda: len(scans.envelopes) == len(ocr.envelopes) == 5)
        assert scans.uploads == ["u0", "u2", "u4", "u6", "u8"]
        assert ocr.uploads == ["u1", "u3", "u5", "u7", "u9"]

    async def test_no_more_than_the_given_number_is_handled_at_a_time(self) -> None:
        listener = Listener()
        listener.gate.clear()
        async with self.new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=4):
            await bus.publish(*(received(f"u{number}") for number in range(40)))
            await eventually(lambda: listener.running == 4)
            listener.gate.set()
            await eventually(lambda: len(listener.envelopes) == 40)
        assert listener.most_running == 4

    async def test_an_event_whose_handler_raises_comes_again(self) -> None:
        listener = Listener()
        listener.failing["u1"] = 2
        async with self.new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
            sent = received("u1")
            await bus.publish(sent)
            await eventually(lambda: listener.envelopes == [sent], timeout_seconds=SLOW_SECONDS)
            await eventually(lambda: bus.pending("g") == 0)

    async def test_an_event_that_fails_for_ever_does_not_hold_up_the_others(self) -> None:
        listener = Listener()
        listener.failing["poison"] = 10**9
        async with self.new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
            await bus.publish(received("poison"), *(received(f"u{number}") for number in range(50)))
            await eventually(lambda: len(listener.envelopes) == 50, timeout_seconds=SLOW_SECONDS)
            await eventually(lambda: bus.pending("g") == 1)
        assert "poison" not in listener.uploads

    async def test_a_cancellation_inside_a_handler_is_a_failure_like_any_other(self) -> None:
        handled: list[str] = []

        async def handler(envelope: Envelope) -> None:
            handled.append(envelope.event.upload_id)
            if len(handled) == 1:
                raise asyncio.CancelledError  # what it waited for was cancelled by somebody else

        async with self.new_bus() as bus, bus.subscribe("g", [BytesReceived], handler, workers=1):
            await bus.publish(received("u1"), received("u2"))
            await eventually(lambda: sorted(handled) == ["u1", "u1", "u2"], timeout_seconds=SLOW_SECONDS)
            await eventually(lambda: bus.pending("g") == 0)

    async def test_an_id_that_is_waiting_or_in_work_is_not_taken_twice(self) -> None:
        listener = Listener()
        listener.gate.clear()
        async with self.new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
            await bus.publish(received("u1", event_id="e1"))
            await eventually(lambda: listener.running == 1)
            await bus.publish(received("u1", event_id="e1"), received("u2", event_id="e2"))
            await bus.publish(received("u2", event_id="e2"))
            listener.gate.set()
            await bus.publish(received("u3", event_id="e3"))
            await eventually(lambda: bus.pending("g") == 0)
        assert listener.uploads == ["u1", "u2", "u3"]

    async def test_events_without_an_id_are_never_taken_for_repeats(self) -> None:
        listener = Listener()
        listener.gate.clear()
        async with self.new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
            await bus.publish(received("u1", event_id=""), received("u1", event_id=""), received("u2", event_id=""))
            listener.gate.set()
            await eventually(lambda: listener.uploads == ["u1", "u1", "u2"])

    async def test_leaving_cancels_handlers_and_their_events_go_to_the_next_member(self) -> None:
        left, stays = Listener(), Listener()
        left.gate.clear()
        async with self.new_bus() as bus:
            async with bus.subscribe("g", [BytesReceived], left, workers=2):
                await bus.publish(*(received(f"u{number}") for number in range(5)))
                await eventually(lambda: left.running == 2)
            assert (left.running, left.cancelled, left.envelopes) == (0, 2, [])
            async with bus.subscribe("g", [BytesReceived], stays, workers=1):
                await eventually(lambda: len(stays.envelopes) == 5, timeout_seconds=SLOW_SECONDS)
        assert sorted(stays.uploads) == ["u0", "u1", "u2", "u3", "u4"]

    async def test_leaving_hands_events_to_a_member_that_is_there(self) -> None:
        left, stays = Listener(), Listener()
        left.gate.clear()
        async with self.new_bus() as bus, bus.subscribe("g", [BytesReceived], stays, workers=1):
            stays.gate.clear()
            async with bus.subscribe("g", [BytesReceived], left, workers=1):
                await bus.publish(*(received(f"u{number}") for number in range(6)))
                await eventually(lambda: left.running == stays.running == 1)
            stays.gate.set()
            await eventually(lambda: len(stays.envelopes) == 6, timeout_seconds=SLOW_SECONDS)
            assert left.envelopes == []

    async def test_nothing_is_delivered_after_leaving(self) -> None:
        left, other = Listener(), Listener()
        async with self.new_bus() as bus, bus.subscribe("other", [BytesReceived], other, workers=1):
            async with bus.subscribe("g", [BytesReceived], left, workers=1):
                pass
            await bus.publish(received("u1"))
            await eventually(lambda: other.uploads == ["u1"])
        assert left.envelopes == []

    async def test_pending_counts_what_waits_and_what_is_in_work(self) -> None:
        listener = Listener()
        listener.gate.clear()
        async with self.new_bus() as bus:
            assert bus.pending("g") == 0
            async with bus.subscribe("g", [BytesReceived], listener, workers=2):
                await bus.publish(*(received(f"u{number}") for number in range(7)))
                await eventually(lambda: bus.pending("g") == 7)
                assert bus.pending("somebody else") == 0
                listener.gate.set()
                await eventually(lambda: bus.pending("g") == 0)

    async def test_all_who_listen_hear_everything_also_behind_busy_members(self) -> None:
        busy = Listener()
        busy.gate.clear()
        one: list[str] = []
        other: list[str] = []
        async with (
            self.new_bus() as bus,
            bus.subscribe("g", [BytesReceived], busy, workers=1),
            bus.listen([BytesReceived, RestartPostprocessing], lambda e: one.append(e.event.upload_id)),
            bus.listen([RestartPostprocessing], lambda e: other.append(e.event.upload_id)),
        ):
            await bus.publish(*(received(f"u{number}") for number in range(5)))
            await bus.publish(finished("u5", "ocr"), Envelope(event=RestartPostprocessing(upload_id="u6")))
            await eventually(lambda: len(one) == 6 and other == ["u6"])
            assert busy.envelopes == []
            assert bus.groups() == ["g"]
        assert one == ["u0", "u1", "u2", "u3", "u4", "u6"]

    async def test_listening_is_for_what_is_published_meanwhile(self) -> None:
        heard: list[str] = []
        witness = Listener()
        async with self.new_bus() as bus, bus.subscribe("g", [BytesReceived], witness, workers=1):
            await bus.publish(received("before"))
            async with bus.listen([BytesReceived], lambda e: heard.append(e.event.upload_id)):
                await bus.publish(received("meanwhile"))
                await eventually(lambda: heard == ["meanwhile"])
            await bus.publish(received("after"))
            await eventually(lambda: len(witness.envelopes) == 3)
        assert heard == ["meanwhile"]

    async def test_who_fails_to_listen_harms_nobody(self) -> None:
        heard: list[str] = []
        witness = Listener()

        def fail(envelope: Envelope) -> None:
            raise ZeroDivisionError(envelope.event_id)

        async with (
            self.new_bus() as bus,
            bus.listen([BytesReceived], fail),
            bus.listen([BytesReceived], lambda e: heard.append(e.event.upload_id)),
            bus.subscribe("g", [BytesReceived], witness, workers=1),
        ):
            await bus.publish(received("u1"), received("u2"))
            await eventually(lambda: heard == witness.uploads == ["u1", "u2"])

    async def test_groups_are_known_by_name_also_after_everybody_has_left(self) -> None:
        async with self.new_bus() as bus:
            assert bus.groups() == []
            async with (
                bus.subscribe("steps", [BytesReceived], Listener(), workers=1),
                bus.subscribe("gateway", [BytesReceived], Listener(), workers=1),
                bus.subscribe("steps", [BytesReceived], Listener(), workers=1),
            ):
                assert bus.groups() == ["gateway", "steps"]
            assert bus.groups() == ["gateway", "steps"]

    async def test_handlers_may_publish_under_load_also_to_their_own_group(self) -> None:
        ended: Counter[str] = Counter()
        rounds = 5

        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(self.new_bus())

            async def ping(envelope: Envelope) -> None:
                name, _, turn = envelope.event.upload_id.partition(":")
                if int(turn) == rounds:
                    ended[name] += 1
                else:
                    await bus.publish(received(f"{name}:{int(turn) + 1}"), finished(f"{name}:{turn}", "pong"))

            async def pong(envelope: Envelope) -> None:
                await bus.publish(Envelope(event=RestartPostprocessing(upload_id=envelope.event.upload_id)))

            await stack.enter_async_context(bus.subscribe("ping", [BytesReceived], ping, workers=3))
            await stack.enter_async_context(bus.subscribe("pong", [PostprocessingStepFinished], pong, workers=1))
            await bus.publish(*(received(f"{number}:0") for number in range(500)))
            await eventually(lambda: len(ended) == 500, timeout_seconds=SLOW_SECONDS)
            await eventually(lambda: bus.pending("ping") == bus.pending("pong") == 0, timeout_seconds=SLOW_SECONDS)
        assert set(ended.values()) == {1}

    async def test_an_error_of_the_body_comes_out_as_it_is(self) -> None:
        async with self.new_bus() as bus:
            with pytest.raises(ZeroDivisionError):
                async with bus.subscribe("g", [BytesReceived], Listener(), workers=1):
                    raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            async with self.new_bus():
                raise ZeroDivisionError

    async def test_a_bus_that_is_not_open_refuses(self) -> None:
        bus = self.new_bus()
        with pytest.raises(BusUnavailable):
            await bus.publish(received("u1"))
        async with bus:
            pass
        with pytest.raises(BusUnavailable):
            await bus.publish(received("u1"))
        with pytest.raises(BusUnavailable):
            async with bus.subscribe("g", [BytesReceived], Listener(), workers=1):
                pass
        with pytest.raises(BusUnavailable):
            async with bus.listen([BytesReceived], lambda _: None):
                pass

    async def test_closing_leaves_no_task_behind(self) -> None:
        before = asyncio.all_tasks()
        listener = Listener()
        listener.failing["u0"] = 10**9
        async with self.new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=3):
            await bus.publish(*(received(f"u{number}") for number in range(5)))
            await eventually(lambda: len(listener.envelopes) == 4, timeout_seconds=SLOW_SECONDS)
        assert asyncio.all_tasks() == before


def _uploads_of(listeners: Iterable[Listener]) -> list[str]:
    return [upload for listener in listeners for upload in listener.uploads]
