from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from penstock.cli.api import Refused
from penstock.cli.transfer import sender as sender_module
from penstock.cli.transfer.patience import GaveUp
from penstock.cli.transfer.remembered import Memory
from penstock.cli.transfer.sender import Sender
from penstock.cli.transfer.sources import FileChanged, Source
from penstock.errors import InvalidRequest
from tests.unit.cli.fake_server import Answer, FakeServer, Fault, Upload
from tests.unit.cli.hasty_clock import HastyClock

CONTENT = os.urandom(300_000)


class Way:
    """One file on its way to one server."""

    def __init__(self, server: FakeServer, client: httpx.AsyncClient, folder: Path) -> None:
        self.server = server
        self.memory = Memory(server.url, folder / "state")
        self.file = folder / "file.bin"
        self.file.write_bytes(CONTENT)
        self.source = Source(self.file, "file.bin")
        self.clock = HastyClock()
        self.sender = Sender(client, server.url, space="lab", patience=timedelta(minutes=1), clock=self.clock)
        self.offsets: list[int] = []
        self.troubles: list[str] = []

    async def send(self) -> str:
        with self.memory.claim(self.source, space="lab") as claim:
            return await self.sender.send(self.source, claim, moved=self.offsets.append, troubled=self.troubles.append)

    @property
    def remembered(self) -> str | None:
        with self.memory.claim(self.source, space="lab") as claim:
            return claim.upload

    @property
    def only_upload(self) -> Upload:
        (upload,) = self.server.uploads.values()
        return upload


@pytest.fixture
async def way(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Way]:
    monkeypatch.setattr(sender_module, "PIECE_BYTES", 64 * 1024)
    async with httpx.AsyncClient(trust_env=False) as client:
        yield Way(server, client, tmp_path)


async def test_a_file_arrives_in_pieces_of_one_request(way: Way) -> None:
    upload_id = await way.send()
    assert way.only_upload.id == upload_id
    assert way.only_upload.data == CONTENT
    assert way.only_upload.metadata == {"filename": "file.bin", "space": "lab"}
    assert [request.method for request in way.server.requests] == ["POST", "PATCH"]
    assert way.offsets[-1] == len(CONTENT)
    assert way.offsets == sorted(way.offsets)
    assert way.troubles == []


async def test_an_empty_file_is_there_at_once(way: Way) -> None:
    way.file.write_bytes(b"")
    await way.send()
    assert way.server.asked("PATCH") == []


async def test_a_cut_connection_costs_only_what_was_not_kept(way: Way) -> None:
    way.server.faults = [
        Fault("PATCH", "/uploads/", cut_after_bytes=100_000),
        Fault("PATCH", "/uploads/", cut_after_bytes=1),
    ]
    await way.send()
    assert way.only_upload.data == CONTENT
    sent = [int(request.headers["upload-offset"]) for request in way.server.asked("PATCH")]
    assert sent == [0, 100_000, 100_001]
    assert len(way.troubles) == 2


async def test_a_lost_answer_costs_nothing(way: Way) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", lose_answer=True)]
    await way.send()
    assert way.only_upload.data == CONTENT
    assert len(way.server.asked("PATCH")) == 1


@pytest.mark.parametrize("status", [408, 423, 429, 500, 503])
async def test_a_server_that_is_busy_is_waited_for(way: Way, status: int) -> None:
    way.server.faults = [
        Fault("POST", "/uploads/", Answer.problem(status, "busy", **{"Retry-After": "7"})),
        Fault("PATCH", "/uploads/", Answer.problem(status, "still busy")),
        Fault("HEAD", "/uploads/", Answer.problem(status, "")),
    ]
    await way.send()
    assert way.only_upload.data == CONTENT
    assert way.troubles[:2] == ["busy", "still busy"]
    assert 7 <= way.clock.seconds < 9


async def test_a_server_that_is_busy_for_long_has_forgotten_nothing(way: Way) -> None:
    way.server.faults = [Fault("POST", "/uploads/", Answer.problem(503, "busy")) for _ in range(6)]
    await way.send()
    assert way.only_upload.data == CONTENT
    assert way.troubles == ["busy"] * 6


async def test_an_answer_that_tells_no_offset_is_asked_about(way: Way) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", Answer(204))]
    await way.send()
    assert way.only_upload.data == CONTENT


async def test_a_server_that_takes_only_a_part_gets_the_rest(way: Way) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", cut_after_bytes=9, answer_kept=True)]
    await way.send()
    assert way.only_upload.data == CONTENT
    assert [int(request.headers["upload-offset"]) for request in way.server.asked("PATCH")] == [0, 9]
    assert way.server.asked("HEAD") == []


@pytest.mark.parametrize("headers", [{"Upload-Offset": "0"}, {}])
async def test_a_server_that_takes_nothing_is_given_up(way: Way, headers: dict[str, str]) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", Answer(204, b"", headers)) for _ in range(100)]
    with pytest.raises(GaveUp, match="the server takes no bytes"):
        await way.send()


async def test_a_wrong_offset_is_asked_for(way: Way) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", Answer.problem(409, "wrong offset"))]
    await way.send()
    assert way.only_upload.data == CONTENT


@pytest.mark.parametrize("status", [400, 403, 413, 415, 507])
async def test_what_will_never_work_is_told_in_the_servers_words(way: Way, status: int) -> None:
    way.server.faults = [Fault("POST", "/uploads/", Answer.problem(status, "this will never do"))]
    with pytest.raises(Refused, match=r"^file\.bin: this will never do$"):
        await way.send()
    assert way.remembered is None


async def test_a_full_disk_stops_and_the_next_run_goes_on(way: Way) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", Answer.problem(507, "no room"))]
    with pytest.raises(Refused, match="no room"):
        await way.send()
    begun = way.remembered
    assert begun is not None
    assert (await way.send()) == begun.rpartition("/")[2]
    assert way.only_upload.data == CONTENT


async def test_no_progress_for_too_long_gives_up_and_the_next_run_goes_on(way: Way) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", cut_after_bytes=50_000)]
    way.server.faults += [Fault("HEAD", "/uploads/", Answer.problem(503, "closed for today"))] * 100
    with pytest.raises(GaveUp, match=r"no progress for 1m: .*Run the same command again"):
        await way.send()
    way.server.faults = []
    await way.send()
    assert [int(request.headers["upload-offset"]) for request in way.server.asked("PATCH")] == [0, 50_000]
    assert way.only_upload.data == CONTENT


async def test_a_server_that_comes_back_is_gone_on_with(way: Way) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", cut_after_bytes=50_000)]

    def come_back(reason: str) -> None:
        way.troubles.append(reason)
        if len(way.troubles) == 1:
            way.server.stop()
        elif len(way.troubles) == 3:
            way.server.start()

    with way.memory.claim(way.source, space="lab") as claim:
        await way.sender.send(way.source, claim, moved=way.offsets.append, troubled=come_back)
    assert way.only_upload.data == CONTENT
    assert way.troubles[1] == "connection refused"


async def test_another_run_goes_on_where_the_first_was_killed(way: Way) -> None:
    upload = Upload("a" * 32, len(CONTENT), {})
    upload.data += CONTENT[:123_456]
    way.server.uploads[upload.id] = upload
    with way.memory.claim(way.source, space="lab") as claim:
        claim.note(way.source, way.source.fingerprint(), f"{way.server.url}/uploads/{upload.id}")
    assert await way.send() == upload.id
    assert upload.data == CONTENT
    assert way.server.asked("POST") == []


@pytest.mark.parametrize("phase", ["released", "deleted", "rejected"])
async def test_what_had_arrived_and_was_processed_is_not_sent_again(way: Way, phase: str) -> None:
    upload_id = await way.send()
    with way.memory.claim(way.source, space="lab") as claim:
        claim.note(way.source, way.source.fingerprint(), f"{way.server.url}/uploads/{upload_id}")
    way.only_upload.phase = phase
    assert await way.send() == upload_id
    assert len(way.server.asked("POST")) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_what_has_expired_is_begun_anew(way: Way, known: bool) -> None:
    upload = Upload("a" * 32, len(CONTENT), {})
    upload.phase = "expired"
    if known:
        way.server.uploads[upload.id] = upload
    with way.memory.claim(way.source, space="lab") as claim:
        claim.note(way.source, way.source.fingerprint(), f"{way.server.url}/uploads/{upload.id}")
    upload_id = await way.send()
    assert upload_id != upload.id
    assert way.server.uploads[upload_id].data == CONTENT


async def test_a_server_that_forgets_everything_is_not_fed_for_ever(way: Way) -> None:
    class Forgetful(dict[str, Upload]):
        def get(self, key: str, default: object = None) -> None:  # type: ignore[override]
            del key, default

    way.server.uploads = Forgetful()
    with pytest.raises(Refused, match="forgets the upload again and again"):
        await way.send()


async def test_what_somebody_cancelled_is_not_sent_behind_their_back(way: Way) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", cut_after_bytes=50_000)]

    def cancel(reason: str) -> None:
        del reason
        way.only_upload.phase = "cancelled"

    with way.memory.claim(way.source, space="lab") as claim:
        with pytest.raises(Refused, match="was cancelled on the server"):
            await way.sender.send(way.source, claim, moved=way.offsets.append, troubled=cancel)
        assert claim.upload is None


@pytest.mark.parametrize("change", ["append", "truncate", "touch", "replace"])
async def test_a_file_that_changes_on_its_way_is_withdrawn(way: Way, change: str) -> None:
    def meddle(offset: int) -> None:
        if 0 < offset < 200_000:
            if change == "replace":
                way.file.with_name("new").write_bytes(CONTENT)
                way.file.with_name("new").rename(way.file)
                way.server.stop()  # whoever goes on reads the new one
                way.server.start()
            elif change == "append":
                with way.file.open("ab") as file:
                    file.write(b"more")
            elif change == "truncate":
                os.truncate(way.file, 100)
            else:
                os.utime(way.file, ns=(0, 0))

    with way.memory.claim(way.source, space="lab") as claim:
        with pytest.raises(FileChanged, match=r"file\.bin was changed while it was uploaded"):
            await way.sender.send(way.source, claim, moved=meddle, troubled=way.troubles.append)
        assert claim.upload is None
    assert way.only_upload.phase == "cancelled"


async def test_a_file_changed_between_two_runs_frees_what_was_sent_of_it(way: Way) -> None:
    way.server.faults = [Fault("PATCH", "/uploads/", Answer.problem(507, "no room"))]
    with pytest.raises(Refused):
        await way.send()
    old = way.only_upload
    way.file.write_bytes(CONTENT[::-1])
    upload_id = await way.send()
    assert old.phase == "cancelled"
    assert way.server.uploads[upload_id].data == CONTENT[::-1]
    assert way.remembered == f"{way.server.url}/uploads/{upload_id}"


async def test_a_file_changed_after_it_had_arrived_leaves_the_old_one_alone(way: Way) -> None:
    upload_id = await way.send()
    way.file.write_bytes(b"a new version")
    assert await way.send() != upload_id
    assert way.server.uploads[upload_id].phase == "released"


async def test_a_file_that_goes_away_is_told(way: Way) -> None:
    way.file.unlink()
    with pytest.raises(InvalidRequest, match=r"file\.bin: there is no such file"):
        await way.send()


async def test_what_is_no_tus_server_is_told(way: Way) -> None:
    way.server.faults = [Fault("POST", "/uploads/", Answer(200, b"<html>"))]
    with pytest.raises(Refused, match="no Penstock server"):
        await way.send()
    way.server.faults = [
        Fault("PATCH", "/uploads/", Answer.problem(503, "")),
        Fault("HEAD", "/uploads/", Answer(200)),
    ]
    with pytest.raises(Refused, match="no Upload-Offset"):
        await way.send()


async def test_more_bytes_than_there_are_is_an_error(way: Way) -> None:
    way.server.faults = [
        Fault("PATCH", "/uploads/", Answer.problem(503, "")),
        Fault("HEAD", "/uploads/", Answer(200, b"", {"Upload-Offset": str(len(CONTENT) + 1)})),
    ]
    with pytest.raises(Refused, match="more bytes of it than there are"):
        await way.send()
