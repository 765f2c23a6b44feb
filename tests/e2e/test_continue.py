"""Uploads that are continued from elsewhere: listed, and gone on with by the command and on the web page."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from tests.servers import copies
from tests.servers.penstock import PenstockServer

from .raw_http import TusClient

CONTENT = hashlib.shake_128(b"content").digest(300_000)
SENT = 120_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    options = {"POSTPROCESSING_STEPS": "", "PENSTOCK_SPACE_LIMITS": "quota=100MiB"}
    with PenstockServer(tmp_path_factory.mktemp("server"), **options) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "river.bin"
    path.write_bytes(CONTENT)
    return path


class Ended(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def penstock(server: PenstockServer, state: Path, *arguments: str | Path) -> Ended:
    """Run a command as on a machine that knows nothing of earlier ones."""
    environ = copies.without_settings() | {"XDG_STATE_HOME": str(state / "state")}
    done = copies.run([*map(str, arguments), "--url", server.url], environment=environ)
    return Ended(done.returncode, done.stdout, done.stderr)


def begun(server: PenstockServer, name: str = "river.bin", size: int = len(CONTENT)) -> str:
    """Begin an upload by another client, which does not end it; return its ID."""
    client = TusClient(server.port)
    path = client.create(size, Upload_Metadata=f"filename {b64encode(name.encode()).decode()},space bGFi")
    assert client.patch(path, 0, CONTENT[:SENT]).status == 204
    return path.rpartition("/")[2]


def view(server: PenstockServer, upload_id: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/api/v1/uploads/{upload_id}", trust_env=False).json()
    return found


def check_released(server: PenstockServer, upload_id: str) -> None:
    assert view(server, upload_id)["phase"] == "released"
    answer = httpx.get(f"{server.url}/api/v1/files/{upload_id}/content", trust_env=False)
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(CONTENT).digest()


def test_the_command_goes_on_with_what_another_client_began(server: PenstockServer, file: Path) -> None:
    upload_id = begun(server)
    listed = penstock(server, file.parent, "uploads", "unfinished", "--space", "lab", "--json")
    [found] = [one for one in listed.json if one["id"] == upload_id]
    assert (found["offset"], found["size"], found["address"]) == (SENT, len(CONTENT), f"/uploads/{upload_id}")
    ended = penstock(server, file.parent, "upload", file, "--continue", upload_id, "--wait", "--json")
    assert (ended.status, ended.json[0]["upload"]) == (0, upload_id), ended.err
    check_released(server, upload_id)
    assert view(server, upload_id)["space"] == "lab"
    again = penstock(server, file.parent, "upload", file, "--continue", upload_id)
    assert again.status == 2
    assert f"upload {upload_id} is released: there is nothing to go on with" in again.err


@pytest.mark.parametrize("other", [b"\0" + CONTENT[1:], CONTENT + b"more"], ids=["content", "size"])
def test_another_file_is_refused_and_nothing_of_it_sent(server: PenstockServer, file: Path, other: bytes) -> None:
    file.write_bytes(other)
    upload_id = begun(server)
    ended = penstock(server, file.parent, "upload", file, "--continue", upload_id)
    assert ended.status == 2
    assert "another file" in ended.err
    assert view(server, upload_id)["offset"] == SENT


def test_what_another_protocol_began_is_left_to_it(server: PenstockServer, file: Path) -> None:
    headers = {"Upload-Complete": "?0", "Upload-Length": str(len(CONTENT))}
    made = httpx.post(f"{server.url}/uploads/", headers=headers, content=CONTENT[:SENT], trust_env=False)
    upload_id = made.headers["location"].rpartition("/")[2]
    ended = penstock(server, file.parent, "upload", file, "--continue", upload_id)
    assert ended.status == 2
    assert "only the client that began it can end" in ended.err


def test_an_unknown_upload_and_several_files_are_told(server: PenstockServer, file: Path) -> None:
    ended = penstock(server, file.parent, "upload", file, "--continue", "f" * 32)
    assert (ended.status, "there is no upload" in ended.err) == (2, True)
    other = file.with_name("other.bin")
    other.write_bytes(b"x")
    ended = penstock(server, file.parent, "upload", file, other, "--continue", "f" * 32)
    assert (ended.status, "goes with one file" in ended.err) == (2, True)


def test_lists_are_tables_for_people(server: PenstockServer, file: Path) -> None:
    upload_id = begun(server)
    assert upload_id in penstock(server, file.parent, "uploads", "unfinished").out
    ended = penstock(server, file.parent, "uploads", "usage")
    [row] = [line for line in ended.out.splitlines() if "lab" in line]
    assert "100 MiB" in row
    [lab] = [one for one in penstock(server, file.parent, "uploads", "usage", "--json").json if one["name"] == "lab"]
    assert lab["limit"] == 100 * 1024**2
    assert lab["free"] == lab["limit"] - lab["used"] - lab["reserved"]


def test_the_page_goes_on_when_the_file_is_picked_again(page: Page, server: PenstockServer, file: Path) -> None:
    upload_id = begun(server, "page.bin")
    row = page.locator(f"#upload-{upload_id}")
    button = row.get_by_role("button", name="Continue")
    expect(button).to_have_attribute("title", re.compile("117.2 KiB have arrived.* It can be continued until"))
    with page.expect_request(lambda request: request.method == "PATCH") as sent, page.expect_file_chooser() as chooser:
        button.click()
        chooser.value.set_files(str(file))
    assert int(sent.value.headers["upload-offset"]) == SENT
    expect(row).to_have_attribute("data-phase", "released")
    check_released(server, upload_id)


def test_the_page_refuses_another_file(page: Page, server: PenstockServer, file: Path) -> None:
    upload_id = begun(server, "page.bin")
    file.write_bytes(b"\0" + CONTENT[1:])
    said: list[str] = []

    def accept(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.accept()

    page.on("dialog", accept)
    button = page.locator(f"#upload-{upload_id}").get_by_role("button", name="Continue")
    with page.expect_event("dialog"), page.expect_file_chooser() as chooser:
        button.click()
        chooser.value.set_files(str(file))
    assert "does not begin with what has arrived" in said[0]
    assert view(server, upload_id)["offset"] == SENT


def test_the_page_shows_what_is_left_of_a_quota(browser: Browser, tmp_path: Path) -> None:
    options = {"POSTPROCESSING_STEPS": "", "PENSTOCK_SPACE_LIMITS": "quota=1MiB"}
    with PenstockServer(tmp_path, **options) as server:
        page = browser.new_page()
        page.goto(server.url)
        usage = page.locator("#usage")
        expect(usage).to_contain_text("space default: 0 B used, 0 B reserved, 1.0 MiB of 1.0 MiB free")
        httpx.put(f"{server.url}/files/a", content=bytes(512 * 1024), trust_env=False)
        expect(usage).to_contain_text("512.0 KiB used")
        assert usage.locator("meter").evaluate("meter => meter.value / meter.max") == 0.5
        (tmp_path / "large.bin").write_bytes(bytes(1024**2))
        page.locator("#pick").set_input_files(str(tmp_path / "large.bin"))
        notice = page.locator("#notices li")
        expect(notice).to_contain_text("large.bin: ")
        expect(notice).to_contain_text("quota")
        notice.get_by_role("button", name="Dismiss").click()
        expect(notice).to_have_count(0)
        page.close()
