"""Files by path on real servers: one that releases at once, one that holds everything back; on the disk and on S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_object_storage import settings_of
from tests.servers.penstock import PenstockServer
from tests.servers.s3 import running_s3


@pytest.fixture(scope="module", params=["local", "s3"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    folder = tmp_path_factory.mktemp("paths")
    if request.param == "local":
        with PenstockServer(folder, POSTPROCESSING_STEPS="") as running:
            yield running
        return
    with running_s3(folder) as s3:
        environment = {**settings_of(s3, s3.new_bucket()), "POSTPROCESSING_STEPS": "", "PENSTOCK_FILE_VERSIONS": "5"}
        with PenstockServer(folder, **environment) as running:
            yield running


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    environment = {"POSTPROCESSING_STEPS": "delay", "POSTPROCESSING_DELAY": "1h"}
    with PenstockServer(tmp_path_factory.mktemp("held"), **environment) as running:
        yield running


def wait(server: PenstockServer, upload_id: str) -> str:
    ends_at = time.monotonic() + 20
    while (view := httpx.get(f"{server.url}/api/v1/uploads/{upload_id}").json())["phase"] != "released":
        assert time.monotonic() < ends_at, (view, server.last_words())
        time.sleep(0.02)
    return upload_id


def put(server: PenstockServer, path: str, body: bytes) -> str:
    response = httpx.put(f"{server.url}/files/{path}", content=body)
    assert response.status_code == 202, response.text
    return wait(server, response.json()["id"])


def versions(server: PenstockServer, path: str, space: str = "default") -> list[str]:
    answer = httpx.get(f"{server.url}/api/v1/paths/versions", params={"space": space, "path": path})
    return [one["version"] for one in answer.json()["versions"]] if answer.status_code == 200 else []


def penstock(server: PenstockServer, *arguments: str, status: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "OC"))}
    command = [sys.executable, "-m", "penstock", "files", *arguments, "--url", server.url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout


def test_a_file_has_versions_that_are_read_restored_moved_and_deleted(server: PenstockServer) -> None:
    first, second = put(server, "life/a.txt", b"one"), put(server, "life/a.txt", b"second")
    url = f"{server.url}/files/life/a.txt"
    assert httpx.get(url).content == b"second"
    assert httpx.get(url, params={"version": first}).content == b"one"
    assert httpx.get(url, params={"version": "f" * 32}).status_code == 404
    part = httpx.get(url, headers={"Range": "bytes=1-2", "If-Range": f'"{second}"'})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"ec", "bytes 1-2/6")
    assert httpx.get(url, headers={"If-None-Match": f'"{second}"'}).status_code == 304
    several = httpx.get(url, headers={"Range": "bytes=0-0,5-5"})
    assert several.headers["content-type"].startswith("multipart/byteranges")
    wanted = {"path": "life/a.txt", "version": first}
    assert httpx.post(f"{server.url}/api/v1/paths/restore", json=wanted).json()["version"] == first
    assert httpx.get(url).content == b"one"

    other = f"{server.url}/files/life/b.txt"
    refused = httpx.request("MOVE", url, headers={"Destination": other, "If-Match": f'"{second}"'})
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition")
    assert httpx.request("MOVE", url, headers={"Destination": other}).status_code == 201
    assert (httpx.get(url).status_code, httpx.get(other).content) == (404, b"one")
    third = put(server, "life/a.txt", b"third")
    kept = httpx.request("MOVE", url, headers={"Destination": other, "Overwrite": "F"})
    assert (kept.status_code, kept.json()["code"]) == (412, "file-exists")
    assert httpx.request("MOVE", url, headers={"Destination": other}).status_code == 204
    assert versions(server, "life/b.txt") == [third, first, second]
    copied = httpx.request("COPY", other, headers={"Destination": "/files/life/c.txt?space=lab"})
    assert copied.status_code == 202
    wait(server, copied.json()["id"])
    assert httpx.get(f"{server.url}/files/life/c.txt", params={"space": "lab"}).content == b"third"
    assert httpx.delete(other, params={"version": third}).status_code == 204
    assert httpx.get(other).content == b"one"
    assert httpx.delete(other).status_code == 204
    assert (httpx.get(other).status_code, versions(server, "life/b.txt")) == (404, [])
    assert httpx.delete(other).status_code == 404
    assert server.staging == []


def test_two_uploads_to_one_path_end_as_the_rule_says(server: PenstockServer) -> None:
    """The one that was created last is the file, also when it is complete first."""
    metadata = {"filename": "ignored", "path": "race/a.txt"}
    encoded = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in metadata.items())
    tus = {"Tus-Resumable": "1.0.0"}
    locations = [
        httpx.post(f"{server.url}/uploads/", headers={**tus, "Upload-Length": "1", "Upload-Metadata": encoded}).headers[
            "location"
        ]
        for _ in range(2)
    ]
    ids = [location.rpartition("/")[2] for location in locations]
    for index in (1, 0):
        headers = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        assert httpx.patch(locations[index], headers=headers, content=b"%d" % index).status_code == 204
        wait(server, ids[index])
        assert httpx.get(f"{server.url}/files/race/a.txt").content == b"1"
    assert versions(server, "race/a.txt") == [ids[1], ids[0]]


def test_all_that_processing_forbids_is_forbidden_in_the_same_words(holding: PenstockServer) -> None:
    url = f"{holding.url}/files/held/a.txt"
    upload_id = httpx.put(url, content=b"hold me").json()["id"]
    there = {"Destination": "/files/held/b.txt"}
    answers = [
        httpx.get(url),
        httpx.get(f"{holding.url}/api/v1/files/{upload_id}/content"),
        httpx.request("MOVE", url, headers=there),
        httpx.request("COPY", url, headers=there),
        httpx.post(f"{holding.url}/api/v1/paths/move", json={"path": "held/a.txt", "to_path": "held/b.txt"}),
    ]
    assert [answer.status_code for answer in answers] == [425] * 5
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["code"] == "processing"
    assert all("retry-after" in answer.headers for answer in answers)
    head = httpx.head(url)
    assert (head.status_code, "retry-after" in head.headers) == (425, True)
    stat = httpx.get(f"{holding.url}/api/v1/paths/stat", params={"path": "held/a.txt"})
    assert stat.json()["phase"] == "processing"
    assert httpx.delete(url).status_code == 204
    assert httpx.get(f"{holding.url}/api/v1/uploads/{upload_id}").json()["phase"] == "cancelled"
    assert httpx.get(url).status_code == 404
    assert holding.staging == []


def test_lists_come_in_pages_with_folders(server: PenstockServer) -> None:
    for name in ("list/1.txt", "list/2.txt", "list/sub/3.txt"):
        put(server, name, b"x")
    found: list[Any] = []
    parameters = {"prefix": "list/", "delimiter": "/", "limit": "1"}
    while True:
        page = httpx.get(f"{server.url}/api/v1/paths", params=parameters).json()
        found += [one["path"] for one in page["files"]] + page["folders"]
        if page["next"] is None:
            break
        parameters["cursor"] = page["next"]
    assert found == ["list/1.txt", "list/2.txt", "list/sub/"]
    assert "default" in httpx.get(f"{server.url}/api/v1/paths/spaces").json()["spaces"]


@pytest.mark.parametrize("path", ["a//b", "..%2Fa", "a/%2e%2e/b", "a%5Cb", "%2Fa", "a/", "con/a"])
def test_paths_that_lead_elsewhere_are_refused(server: PenstockServer, path: str) -> None:
    assert httpx.put(f"{server.url}/files/{path}", content=b"x").status_code == 400
    moved = httpx.request("MOVE", f"{server.url}/files/x", headers={"Destination": f"/files/{path}"})
    assert moved.status_code == 400
    for wrong in ({}, {"Destination": "/elsewhere"}, {"Destination": "/files/y", "Overwrite": "maybe"}):
        assert httpx.request("MOVE", f"{server.url}/files/x", headers=wrong).status_code == 400


def test_the_command_does_it_all(server: PenstockServer, tmp_path: Path) -> None:
    first, second = put(server, "cli/a.txt", b"one"), put(server, "cli/a.txt", b"second")
    listed = json.loads(penstock(server, "list", "cli/", "--json"))
    assert [file["version"] for file in listed["files"]] == [second]
    assert "cli/" in penstock(server, "list")
    assert json.loads(penstock(server, "stat", "cli/a.txt", "--json"))["size"] == 6
    assert penstock(server, "get", "cli/a.txt", "-o", "-") == "second"
    target = tmp_path / "copy.txt"
    penstock(server, "get", "cli/a.txt", "--version", first, "-o", str(target))
    assert target.read_bytes() == b"one"
    penstock(server, "get", "cli/a.txt", "-o", str(target), status=2)
    penstock(server, "restore", "cli/a.txt", first)
    assert [one["version"] for one in json.loads(penstock(server, "versions", "cli/a.txt", "--json"))] == [
        first,
        second,
    ]
    penstock(server, "move", "cli/a.txt", "cli/b.txt")
    put(server, "cli/a.txt", b"third")
    penstock(server, "move", "cli/a.txt", "cli/b.txt", status=2)
    penstock(server, "delete", "cli/b.txt", status=2)
    penstock(server, "delete", "cli/b.txt", "--yes")
    penstock(server, "stat", "cli/b.txt", status=2)


def test_pages_of_other_origins_may_send_files_and_not_change_them(server: PenstockServer) -> None:
    put(server, "foreign.txt", b"here to stay")
    address = f"{server.url}/files/foreign.txt"
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "DELETE"}
    allowed = httpx.options(address, headers=asking).headers["access-control-allow-methods"]
    assert set(allowed.split(", ")) == {"OPTIONS", "POST", "PUT"}
    for origin in ("https://evil.example", "null", "http://["):
        foreign = {"Origin": origin, "Destination": "/files/elsewhere.txt"}
        for method in ("DELETE", "MOVE", "COPY"):
            assert httpx.request(method, address, headers=foreign).status_code == 403
    assert httpx.get(address).content == b"here to stay"
    assert httpx.request("DELETE", address, headers={"Origin": server.url}).status_code == 204


@pytest.mark.parametrize("said", ["http://[/files/x", "/elsewhere/x", ""])
def test_a_destination_that_is_none_is_refused(server: PenstockServer, said: str) -> None:
    put(server, "stays.txt", b"here")
    answer = httpx.request("MOVE", f"{server.url}/files/stays.txt", headers={"Destination": said})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-header")
    assert httpx.get(f"{server.url}/files/stays.txt").content == b"here"


def test_only_a_field_of_that_name_is_a_space(server: PenstockServer) -> None:
    put(server, "lab.txt?space=lab", b"here")
    answer = httpx.request(
        "MOVE", f"{server.url}/files/lab.txt?space=lab", headers={"Destination": "/files/moved.txt?workspace=1"}
    )
    assert answer.status_code == 201
    assert httpx.get(f"{server.url}/files/moved.txt?space=lab").content == b"here"
