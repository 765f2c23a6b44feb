"""When uploads that were held go on: once the scanner works, not ever again in a moment, and whoever has died."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from penstock.antivirus import ScannerUnavailable
from penstock.app.held import HeldUploads
from penstock.app.scanner import open_virusscan
from penstock.app.scanning import Scanning
from penstock.bus.base import BusUnavailable
from penstock.events.types import Envelope, PostprocessingFinished, ResumePostprocessing, StartPostprocessingStep
from penstock.settings import load_settings
from penstock.settings.services import Service
from penstock.steps.held import Held
from penstock.steps.kit import StepUpload
from penstock.testing import ManualClock, eventually
from tests.servers.clamd import running_clamd


async def test_held_uploads_go_on_and_a_scanner_that_flaps_does_not_cost_them_all_their_attempts(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    (tmp_path / "file").write_bytes(b"harmless")
    hurried: list[tuple[float, Sequence[str]]] = []
    trouble, refused = True, 0

    async def hurry(upload_ids: Sequence[str]) -> Sequence[str]:
        nonlocal refused
        if trouble:
            refused += 1
            raise BusUnavailable("away")
        hurried.append((clock.monotonic(), upload_ids))
        return ()

    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd") as clamd:
        environment = {"ANTIVIRUS_SCANNER_TYPE": "clamav", "ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address}
        settings = load_settings(environ=environment, folder=tmp_path, service=Service.ANTIVIRUS)
        async with AsyncExitStack() as stack:
            scanning = await open_virusscan(stack, settings, clock)
            clamd.kill()
            with pytest.raises(ScannerUnavailable):
                await scanning.definition(StepUpload.from_file(tmp_path / "file", upload_id="one"))
            scanning.hold(["two", "three"])
            clamd.start_again()
            looking = asyncio.create_task(scanning.look_after(hurry))

            async def passed(seconds: float, count: int) -> bool:
                await clock.advance(timedelta(seconds=seconds))
                return len(hurried) == count

            await eventually(lambda: refused > 0)
            trouble = False  # what could not be said is said later
            await eventually(lambda: passed(2, 1))
            assert hurried[0][1] == ["one", "two", "three"]
            for count, least_seconds in ((2, 10), (3, 20), (4, 40)):
                scanning.hold(["again"])
                await eventually(lambda count=count: passed(1, count))  # type: ignore[misc]
                assert hurried[-1][0] - hurried[-2][0] >= least_seconds
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


class There:
    """A step that works, for who looks after it."""

    def __init__(self) -> None:
        self.held = Held()
        self.definition = None
        self.problem = ""
        self.on_held = None


async def test_an_upload_whose_answer_is_under_way_is_asked_for_again_at_once() -> None:
    clock, asked = ManualClock(), list[tuple[float, list[str]]]()
    scanning = Scanning(There(), object(), clock, test_every=timedelta(hours=1))  # type: ignore[arg-type]

    async def hurry(upload_ids: Sequence[str]) -> Sequence[str]:
        asked.append((clock.monotonic(), list(upload_ids)))
        return [upload_id for upload_id in upload_ids if upload_id == "two" and len(asked) < 3]

    async def noted() -> list[str]:
        return ["one", "of another"]

    scanning.hold(["one", "two"])
    looking = asyncio.create_task(scanning.look_after(hurry, noted))

    async def passed() -> bool:
        await clock.advance(timedelta(seconds=1))
        return len(asked) == 3

    await eventually(passed)
    began_at = asked[0][0]
    assert asked[0] == (began_at, ["one", "two", "of another"])
    assert [ids for _, ids in asked[1:]] == [["two"], ["two"]]
    assert asked[-1][0] - began_at <= 6
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


class Server:
    """What the instances share: their notes, and what they publish. Can refuse what it is asked next."""

    def __init__(self) -> None:
        self.noted: dict[str, int] = {}
        self.published: list[Envelope] = []
        self.asked: list[str] = []
        self.refused: list[str] = []
        """What is answered with an error, the next time each."""
        self._number = 0

    def notes(self) -> Server:
        return self

    async def publish(self, *envelopes: Envelope) -> None:
        self._hear("publish")
        self.published += envelopes

    async def add(self, name: str) -> int:
        self._hear("add")
        self._number += 1
        self.noted[name] = self._number
        await asyncio.sleep(0)
        return self.noted[name]

    async def find(self, name: str) -> int | None:
        self._hear("find")
        return self.noted.get(name)

    async def take(self, name: str, number: int | None = None) -> bool:
        self._hear("take")
        await asyncio.sleep(0)
        found = self.noted.get(name)
        if found is None or (number is not None and found > number):
            return False
        del self.noted[name]
        return True

    async def names(self) -> list[str]:
        self._hear("names")
        return list(self.noted)

    def events(self) -> list[tuple[str, str]]:
        """Return which uploads were asked for, with the IDs by which a repeat is recognised."""
        assert all(isinstance(envelope.event, ResumePostprocessing) for envelope in self.published)
        return [(envelope.event.upload_id, envelope.event_id) for envelope in self.published]

    def _hear(self, question: str) -> None:
        self.asked.append(question)
        if question in self.refused:
            self.refused.remove(question)
            raise BusUnavailable("away")


def instance(server: Server, clock: ManualClock | None = None) -> HeldUploads:
    scanning = Scanning(There(), object(), ManualClock(), test_every=timedelta(hours=1))  # type: ignore[arg-type]
    return HeldUploads(server, scanning, clock or ManualClock())  # type: ignore[arg-type]


def ended(upload_id: str) -> Envelope:
    return Envelope(event=PostprocessingFinished(upload_id=upload_id, outcome="continue"), event_id="e")


async def test_it_is_asked_for_before_its_note_is_taken_away() -> None:
    """So whoever dies in between leaves it to others, and what was said twice is recognised."""
    server = Server()
    one, other = instance(server), instance(server)
    await one.keep("u")
    server.refused = ["publish"]
    assert await one.hurry(["u"]) == ["u"]
    assert "u" in server.noted
    server.refused = ["take"]
    assert await one.hurry(["u"]) == ["u"]  # asked for, and the note is still there, as if it had died now
    assert server.asked.index("publish") < server.asked.index("take")
    assert await other.hurry(await other.noted()) == ()
    assert not server.noted
    assert len(server.published) == 2
    assert len(set(server.events())) == 1


async def test_ours_is_asked_for_also_when_its_note_is_gone() -> None:
    server = Server()
    held = instance(server)
    await held.keep("u")
    server.noted.clear()  # by a server that has lost its disk, or somebody who tidied up
    assert await held.hurry(["u"]) == ()
    assert [upload_id for upload_id, _ in server.events()] == ["u"]


async def test_that_of_another_is_not_asked_for_when_its_note_is_gone() -> None:
    server = Server()
    one, other = instance(server), instance(server)
    await one.keep("u")
    names = await other.noted()
    await one.hurry(["u"])
    assert await other.hurry(names) == ()
    assert len(server.published) == 1


async def test_ours_is_not_asked_for_when_it_has_begun_again_since_we_began_to_ask() -> None:
    server = Server()
    held = instance(server)
    await held.keep("u")
    held.hear(Envelope(event=StartPostprocessingStep(upload_id="u", step_to_start="virusscan"), event_id="another"))
    assert await held.hurry(["u"]) == ()  # on its list from before
    assert not server.published


async def test_each_time_that_it_is_held_is_another_event() -> None:
    server = Server()
    held = instance(server)
    for _ in range(2):
        await held.keep("u")
        await held.hurry(["u"])
    assert len(set(server.events())) == 2


async def test_one_that_is_held_again_while_it_is_asked_for_keeps_its_new_note() -> None:
    server = Server()
    held = instance(server)
    await held.keep("u")
    asking = asyncio.create_task(held.hurry(["u"]))
    await eventually(lambda: "take" in server.asked)
    await held.keep("u")
    await asking
    assert server.noted == {"u": 2}
    assert await held.noted() == []  # it is ours
    await held.hurry(["u"])
    assert not server.noted


async def test_one_that_ends_while_it_is_noted_down_leaves_no_note() -> None:
    server, clock = Server(), ManualClock()
    held = instance(server, clock)
    keeping = asyncio.create_task(held.keep("u"))
    await eventually(lambda: "u" in server.noted)
    held.hear(ended("u"))
    await keeping
    tidying = asyncio.create_task(held._tidy())
    await eventually(lambda: clock.sleepers == 1)
    await clock.advance(timedelta(seconds=1))
    await eventually(lambda: not server.noted)
    tidying.cancel()


async def test_a_note_of_one_that_has_ended_is_removed_and_not_asked_for() -> None:
    server, clock = Server(), ManualClock()
    killed, held = instance(server), instance(server, clock)
    for name in ("ended", "begun again", "waiting"):
        await killed.keep(name)
    for name in ("ended", "begun again"):
        held.hear(ended(name))
    held.hear(Envelope(event=StartPostprocessingStep(upload_id="begun again", step_to_start="virusscan"), event_id="s"))
    assert await held.noted() == ["begun again", "waiting"]
    tidying = asyncio.create_task(held._tidy())
    await eventually(lambda: clock.sleepers == 1)
    await clock.advance(timedelta(seconds=1))
    await eventually(lambda: list(server.noted) == ["begun again", "waiting"])
    tidying.cancel()


async def test_those_of_others_are_asked_for_every_ten_minutes_also_where_the_scanner_was_never_away() -> None:
    clock, asked = ManualClock(), list[float]()
    scanning = Scanning(There(), object(), clock, test_every=timedelta(hours=1))  # type: ignore[arg-type]

    async def noted() -> list[str]:
        asked.append(clock.monotonic())
        return []

    async def hurry(upload_ids: Sequence[str]) -> Sequence[str]:
        return ()

    looking = asyncio.create_task(scanning.look_after(hurry, noted))
    for _ in range(25 * 30):
        await eventually(lambda: clock.sleepers == 1)
        await clock.advance(timedelta(seconds=2))
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert len(asked) == 3
    assert all(600 <= later - earlier <= 610 for earlier, later in pairwise(asked))


async def test_a_mistake_of_ours_is_not_the_end_of_looking(capsys: pytest.CaptureFixture[str]) -> None:
    clock, asked = ManualClock(), list[Sequence[str]]()
    scanning = Scanning(There(), object(), clock, test_every=timedelta(hours=1))  # type: ignore[arg-type]
    scanning.hold(["u"])

    async def hurry(upload_ids: Sequence[str]) -> Sequence[str]:
        asked.append(upload_ids)
        if len(asked) == 1:
            raise RuntimeError("a mistake")
        return ()

    looking = asyncio.create_task(scanning.look_after(hurry))
    await eventually(lambda: clock.sleepers == 1)
    await clock.advance(timedelta(seconds=2))
    await eventually(lambda: len(asked) == 2)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert asked == [["u"], ["u"]]
    assert "a mistake" in "".join(capsys.readouterr())
