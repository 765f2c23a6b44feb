"""When uploads that were held go on: once the scanner works, and not ever again in a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.antivirus import ScannerUnavailable
from penstock.app.scanner import open_virusscan
from penstock.app.scanning import Scanning
from penstock.bus.base import BusUnavailable
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
