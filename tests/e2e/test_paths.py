"""Files by path on real servers: one that releases at once, one that holds everything back; on the disk and on S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_object_storage import settings_of
from tests.servers import copies
from tests.servers.penstock import PenstockServer
from tests.servers.s3 import S3Server


@pytest.fixture(scope="module", params=["local", "s3"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    folder = tmp_path_factory.mktemp("paths")
    if request.param == "local":
        with PenstockServer(folder, POSTPROCESSING_STEPS="") as running:
            yield running
        return
    s3: S3Server = request.getfixturevalue("s3")
    environment = {**settings_of(s3, s3.new_bucket()), "POSTPROCESSING_STEPS": "", "PENSTOCK_FILE_VERSIONS": "5"}
    with PenstockServer(folder, **environment) as running:
        yield running


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    environment = {"POSTPROCESSING_STEPS": "delay", "POSTPROCESSING_DELAY": "1h"}
    with PenstockServer(tmp_path_factory.mktemp("held"), **environment) as running:
        yield running


ON_THE_DISK = pytest.mark.parametrize("server", ["local"], indirect=True)
"""For what has nothing to do with where the bytes are."""


def wait(server: PenstockServer, upload_id: str) -> str:
    ends_at = time.monotonic() + 60
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
    done = copies.run(["files", *arguments, "--url", server.url], environment=copies.without_settings())
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
    moved = httpx.request("MOVE", url, headers={"Destination": other, "If-Match": f'"x", "{first}"'})
    assert (moved.status_code, moved.headers["location"]) == (201, other)
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


def test_of_two_that_want_a_path_for_themselves_one_gets_it(server: PenstockServer) -> None:
    url, alone = f"{server.url}/files/alone/a.txt", {"If-None-Match": "*"}
    go = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"late"
        assert go.wait(60)
        yield b"r"

    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(httpx.put, url, content=slowly(), headers=alone, timeout=120)
        ends_at = time.monotonic() + 60
        while not httpx.get(f"{server.url}/api/v1/uploads", params={"phase": "receiving"}).json()["uploads"]:
            assert time.monotonic() < ends_at, server.last_words()
            time.sleep(0.02)
        first = wait(server, httpx.put(url, content=b"first", headers=alone).json()["id"])
        go.set()
        answer = late.result()
    assert (answer.status_code, answer.json()["code"]) == (412, "file-exists")
    assert versions(server, "alone/a.txt") == [first]
    assert server.staging == []


def test_all_that_processing_forbids_is_forbidden_in_the_same_words(holding: PenstockServer) -> None:
    url = f"{holding.url}/files/held/a.txt"
    upload_id = httpx.put(url, content=b"hold me").json()["id"]
    there = {"Destination": "/files/held/b.txt"}
    answers = [
        httpx.get(url),
        httpx.get(f"{holding.url}/api/v1/files/{upload_id}/content"),
        httpx.request("MOVE", url, headers=there),
        httpx.request("COPY", url, headers=there),
        *(
            httpx.post(f"{holding.url}/api/v1/paths/{verb}", json={"path": "held/a.txt", "to_path": "held/b.txt"})
            for verb in ("move", "copy")
        ),
        httpx.post(f"{holding.url}/api/v1/paths/restore", json={"path": "held/a.txt", "version": upload_id}),
        httpx.get(url, params={"version": upload_id}),
        httpx.put(url, content=b"other", headers={"If-None-Match": "*"}),
        httpx.put(url, content=b"other", headers={"If-Match": "*", "Upload-Complete": "?1"}),
    ]
    assert [answer.status_code for answer in answers] == [425] * 10
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


@ON_THE_DISK
@pytest.mark.parametrize("path", ["a//b", "..%2Fa", "a/%2e%2e/b", "a%5Cb", "%2Fa", "a/", "con/a"])
def test_paths_that_lead_elsewhere_are_refused(server: PenstockServer, path: str) -> None:
    assert httpx.put(f"{server.url}/files/{path}", content=b"x").status_code == 400
    moved = httpx.request("MOVE", f"{server.url}/files/x", headers={"Destination": f"/files/{path}"})
    assert moved.status_code == 400
    for wrong in ({}, {"Destination": "/elsewhere"}, {"Destination": "/files/y", "Overwrite": "maybe"}):
        assert httpx.request("MOVE", f"{server.url}/files/x", headers=wrong).status_code == 400


@ON_THE_DISK
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
    copied = json.loads(penstock(server, "copy", "cli/a.txt", "cli/b.txt", "--overwrite", "--json"))
    wait(server, copied["id"])
    assert json.loads(penstock(server, "stat", "cli/b.txt", "--version", first, "--json"))["size"] == 3
    assert "default" in json.loads(penstock(server, "spaces", "--json"))
    penstock(server, "delete", "cli/b.txt", status=2)
    penstock(server, "delete", "cli/b.txt", "--yes")
    penstock(server, "stat", "cli/b.txt", status=2)


@ON_THE_DISK
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


@ON_THE_DISK
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


@ON_THE_DISK
def test_a_file_does_not_go_to_another_server(server: PenstockServer) -> None:
    put(server, "home.txt", b"here")
    for method in ("MOVE", "COPY"):
        answer = httpx.request(
            method, f"{server.url}/files/home.txt", headers={"Destination": "http://elsewhere.example/files/home.txt"}
        )
        assert (answer.status_code, answer.json()["code"]) == (502, "foreign-destination")
        assert "elsewhere.example" in answer.json()["detail"]
    assert httpx.get(f"{server.url}/files/home.txt").content == b"here"


@ON_THE_DISK
def test_who_says_what_is_there_is_not_taken_at_other_times(server: PenstockServer) -> None:
    """Conditions of whoever changes a file (RFC 9110, 13): nothing is done unless they hold."""
    url = f"{server.url}/files/conditions.txt"

    def asked(method: str = "PUT", **conditions: str) -> tuple[int, str]:
        headers = {name.replace("_", "-"): value for name, value in conditions.items()}
        answer = httpx.request(method, url, headers=headers, content=b"more" if method == "PUT" else b"")
        if answer.status_code == 202:
            wait(server, answer.json()["id"])
        return answer.status_code, answer.json().get("code", "") if answer.content else ""

    assert asked(If_Match="*") == asked(If_Match='"x"') == (412, "precondition")
    assert asked(If_None_Match="*") == (202, "")
    assert asked(If_None_Match="*") == (412, "file-exists")
    [version] = versions(server, "conditions.txt")
    assert asked(If_None_Match=f'"{version}"') == asked(If_Match='"x"') == (412, "precondition")
    assert asked(If_Unmodified_Since="Thu, 01 Jan 2015 00:00:00 GMT") == (412, "precondition")
    assert asked(If_Match=f'"x", "{version}"') == (202, "")
    assert asked(If_Match=f'"{version}"', Upload_Complete="?1") == (412, "precondition")
    for method in ("DELETE", "MOVE", "COPY"):
        there = {"Destination": "/files/conditions-2.txt"}
        assert asked(method, If_Match=f'"{version}"', **there) == (412, "precondition")
        assert asked(method, If_None_Match="*", **there) == (412, "file-exists")
        assert asked(method, If_Unmodified_Since="Thu, 01 Jan 2015 00:00:00 GMT", **there) == (412, "precondition")
    assert len(versions(server, "conditions.txt")) == 2
    assert asked("DELETE", If_Match="*") == (204, "")
    assert asked("DELETE", If_Match="*") == (404, "not-found")


def test_what_is_read_may_have_been_another_version_a_moment_ago(server: PenstockServer) -> None:
    first, second = put(server, "read.txt", b"the first"), put(server, "read.txt", b"the second")
    url = f"{server.url}/files/read.txt"
    newer = httpx.head(url).headers["last-modified"]
    assert httpx.get(url, headers={"If-Modified-Since": newer}).status_code == 304
    part = {"Range": "bytes=4-", "If-Range": newer}
    assert httpx.get(url, headers=part).status_code == 200
    assert httpx.get(url, params={"version": second}, headers=part).status_code == 206
    assert httpx.get(url, headers={"Range": "bytes=4-", "If-Range": f'"{second}"'}).content == b"second"
    assert httpx.get(url, headers={"Range": "bytes=-3, 0-2"}).status_code == 206
    head = httpx.head(url, headers={"Range": "bytes=4-"})
    assert (head.status_code, head.headers["content-length"]) == (200, "10")
    httpx.post(f"{server.url}/api/v1/paths/restore", json={"path": "read.txt", "version": first})
    later = "Fri, 01 Jan 2100 00:00:00 GMT"
    assert httpx.get(url, headers={"If-Modified-Since": later}).content == b"the first"
    put(server, "empty.txt", b"")
    empty = httpx.get(f"{server.url}/files/empty.txt", headers={"Range": "bytes=0-"})
    assert (empty.status_code, empty.content) == (200, b"")


def test_a_copy_to_its_own_path_is_a_new_version_that_steps_have_passed(server: PenstockServer) -> None:
    first = put(server, "again.txt", b"the same")
    copied = httpx.request("COPY", f"{server.url}/files/again.txt", headers={"Destination": "/files/again.txt"})
    assert copied.status_code == 202
    second = wait(server, copied.json()["id"])
    assert versions(server, "again.txt") == [second, first]
    assert httpx.get(f"{server.url}/files/again.txt").content == b"the same"


@ON_THE_DISK
def test_versions_come_in_pages(server: PenstockServer) -> None:
    all_of_them = [put(server, "pages.txt", b"%d" % number) for number in range(3)][::-1]
    asked: dict[str, str] = {"path": "pages.txt", "limit": "2"}
    first = httpx.get(f"{server.url}/api/v1/paths/versions", params=asked).json()
    second = httpx.get(f"{server.url}/api/v1/paths/versions", params={**asked, "cursor": first["next"]}).json()
    assert [one["version"] for page in (first, second) for one in page["versions"]] == all_of_them
    assert second["next"] is None
    stat = f"{server.url}/api/v1/paths/stat"
    assert httpx.get(stat, params={"path": "pages.txt", "version": all_of_them[2]}).json()["size"] == 1
    assert httpx.get(stat, params={"path": "pages.txt", "version": "f" * 32}).status_code == 404


@ON_THE_DISK
def test_the_shell_offers_spaces_paths_and_versions(server: PenstockServer) -> None:
    version = put(server, "tab/a.txt?space=tabs", b"x")

    def offered(*words: str) -> list[str]:
        line = ["penstock", "files", *words]
        asking = {
            "_PENSTOCK_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(line),
            "COMP_CWORD": str(len(line) - 1),
            "PENSTOCK_URL": server.url,
            "PATH": os.environ["PATH"],
        }
        command = [str(Path(sys.executable).with_name("penstock"))]
        for _ in range(10):  # what is not known in a moment is not offered: a busy machine is asked again
            done = subprocess.run(command, env=asking, capture_output=True, text=True, check=False)
            if found := done.stdout.split():
                return found
        return []

    assert offered("stat", "--space", "ta") == ["tabs"]
    assert offered("stat", "--space", "tabs", "tab/") == ["tab/a.txt"]
    assert offered("restore", "--space", "tabs", "tab/a.txt", version[:4]) == [version]
