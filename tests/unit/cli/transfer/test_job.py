from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.cli.api import Refused, ServerAway
from penstock.cli.transfer.job import Job, Result
from penstock.cli.transfer.remembered import Memory
from penstock.cli.transfer.sources import Source
from tests.unit.cli.fake_server import Answer, FakeServer, Fault, Upload
from tests.unit.cli.hasty_clock import HastyClock


class Notes:
    """A board that keeps what it is told."""

    def __init__(self) -> None:
        self.sending = 0
        self.most = 0
        self.ended_places: list[int] = []
        self.offsets: dict[int, int] = {}

    def began(self, place: int, shown: str, size_bytes: int) -> None:
        self.sending += 1
        self.most = max(self.most, self.sending)

    def moved(self, place: int, offset: int) -> None:
        self.offsets[place] = offset

    def told(self, place: int, text: str) -> None:
        pass

    def troubled(self, place: int, shown: str, reason: str) -> None:
        pass

    def ended(self, place: int, result: Result) -> None:
        self.sending -= 1
        self.ended_places.append(place)


def job_for(server: FakeServer, folder: Path, *, wait: bool = True, parallel: int = 4) -> Job:
    memory = Memory(server.url, folder / "state")
    patience = timedelta(seconds=30)
    return Job(
        url=server.url, space="s", parallel=parallel, patience=patience, wait=wait, memory=memory, clock=HastyClock()
    )


def files(folder: Path, count: int) -> list[Source]:
    made = []
    for number in range(count):
        path = folder / f"file{number}.bin"
        path.write_bytes(bytes([number]) * 1000)
        made.append(Source(path, path.name))
    return made


async def test_each_file_gets_a_result_in_order(server: FakeServer, tmp_path: Path) -> None:
    sources = files(tmp_path, 20)
    board = Notes()
    async with asyncio.timeout(60):
        results = await job_for(server, tmp_path, parallel=3).run(sources, board)
    assert [(one.file, one.phase, one.error) for one in results] == [
        (source.shown, "released", "") for source in sources
    ]
    assert [bytes(server.uploads[one.upload].data) for one in results] == [
        source.path.read_bytes() for source in sources
    ]
    assert sorted(board.ended_places) == list(range(20))
    assert board.offsets == dict.fromkeys(range(20), 1000)


async def test_no_more_files_than_wanted_are_sent_at_a_time(server: FakeServer, tmp_path: Path) -> None:
    board = Notes()
    await job_for(server, tmp_path, wait=False, parallel=2).run(files(tmp_path, 12), board)
    assert board.most == 2


async def test_one_that_fails_does_not_stop_the_others(server: FakeServer, tmp_path: Path) -> None:
    sources = files(tmp_path, 4)
    sources[1].path.unlink()
    server.received = lambda upload: server.end(
        upload, "deleted" if upload.metadata["filename"] == "file2.bin" else "released", "infected"
    )
    async with asyncio.timeout(60):
        results = await job_for(server, tmp_path).run(sources, Notes())
    assert [one.phase for one in results] == ["released", "", "deleted", "released"]
    assert results[1].error == "file1.bin: there is no such file"
    assert results[2].reason == "infected"


async def test_what_was_sent_is_remembered_until_its_outcome_is_known(server: FakeServer, tmp_path: Path) -> None:
    def vanish(upload: Upload) -> None:
        server.tell("released", upload.id)
        server.faults = [Fault("GET", "/api/v1/", Answer.problem(503, "")) for _ in range(1000)]

    server.received = vanish
    (source,) = files(tmp_path, 1)
    job = job_for(server, tmp_path)
    async with asyncio.timeout(60):
        (first,) = await job.run([source], Notes())
    assert (first.phase, first.error != "") == ("processing", True)
    server.faults = []
    server.uploads[first.upload].phase = "released"
    async with asyncio.timeout(60):
        (second,) = await job.run([source], Notes())
    assert (second.upload, second.phase, second.error) == (first.upload, "released", "")
    assert len(server.asked("POST")) == 1
    async with asyncio.timeout(60):
        (third,) = await job.run([source], Notes())
    assert third.upload != first.upload


async def test_without_waiting_it_ends_when_all_has_arrived(server: FakeServer, tmp_path: Path) -> None:
    server.received = lambda upload: None
    (result,) = await job_for(server, tmp_path, wait=False).run(files(tmp_path, 1), Notes())
    assert result.phase == "processing"
    assert server.asked("GET", "/api/v1/events") == []
    assert list((tmp_path / "state").iterdir()) == []


async def test_a_finding_of_the_scanner_is_told(server: FakeServer, tmp_path: Path) -> None:
    def find(upload: Upload) -> None:
        upload.scan = {"infected": True, "signature": "EICAR", "scanned_at": "", "error": ""}
        server.end(upload, "rejected", "infected")

    server.received = find
    (result,) = await job_for(server, tmp_path).run(files(tmp_path, 1), Notes())
    assert (result.phase, result.signature) == ("rejected", "EICAR")


async def test_no_server_to_begin_with_is_told_at_once(server: FakeServer, tmp_path: Path) -> None:
    server.stop()
    with pytest.raises(ServerAway, match="Start it with `penstock serve`"):
        await job_for(server, tmp_path).run(files(tmp_path, 1), Notes())


async def test_another_kind_of_server_is_told_at_once(server: FakeServer, tmp_path: Path) -> None:
    server.faults = [Fault("GET", "/api/v1/info", Answer(200, b"<html>hello</html>"))]
    with pytest.raises(Refused, match="no Penstock server"):
        await job_for(server, tmp_path).run(files(tmp_path, 1), Notes())
    assert server.asked("POST") == []
