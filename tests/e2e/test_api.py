"""The API, on a real server: what a client sees of an upload, from its first byte to its end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.antivirus.eicar import eicar
from penstock.testing import eventually
from tests.servers.penstock import PenstockServer

STEPS = """
import os, time
from penstock import Outcome, step

@step("gate", workers=8)
def gate(upload):
    upload.heartbeat(0.25, "waiting at the gate")
    while upload.filename.startswith("held") and not os.path.exists(os.environ["GATE"]):
        if upload.cancelled:
            break
        time.sleep(0.02)
    if upload.filename.startswith("bad"):
        raise RuntimeError("no luck")
    if upload.filename.startswith("no"):
        return Outcome.ABORT
    return Outcome.CONTINUE
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gate: Path) -> Iterator[PenstockServer]:
    folder = tmp_path_factory.mktemp("server")
    steps = folder / "steps.py"
    steps.write_text(STEPS)
    environment = {
        "POSTPROCESSING_STEPS": "virusscan,gate",
        "POSTPROCESSING_RETRY_BACKOFF_DURATION": "100ms",
        "POSTPROCESSING_MAX_RETRIES": "2",
        "GATE": str(gate),
    }
    with PenstockServer(folder, "--steps", str(steps), **environment) as running:
        yield running


@pytest.fixture
def client(server: PenstockServer, gate: Path) -> Iterator[httpx.Client]:
    gate.unlink(missing_ok=True)
    with httpx.Client(base_url=server.url, timeout=120) as opened:
        yield opened
    gate.touch()


def put(client: httpx.Client, name: str, content: bytes) -> str:
    answer = client.put(f"/files/{name}", content=content)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == answer.json()["status"]
    upload_id: str = answer.json()["id"]
    return upload_id


def until(client: httpx.Client, upload_id: str, phase: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    upload: dict[str, Any] = {}
    while time.monotonic() < end:
        upload = client.get(f"/api/v1/uploads/{upload_id}").json()
        if upload["phase"] == phase:
            return upload
        time.sleep(0.02)
    raise AssertionError(f"still {upload}")


def test_a_held_file_is_listed_but_not_readable(client: httpx.Client, gate: Path) -> None:
    upload_id = put(client, "held-1.txt", b"content")
    end = time.monotonic() + 60
    while True:
        upload = client.get(f"/api/v1/uploads/{upload_id}").json()
        run = upload["processing"]
        if run and run["step"] == "gate" and run["fraction"] == 0.25:
            break
        assert time.monotonic() < end, upload
        time.sleep(0.05)
    assert run["attempt"] == 1
    assert run["steps"] == ["virusscan", "gate"]
    for path in (f"/api/v1/files/{upload_id}/content", "/files/held-1.txt"):
        answer = client.get(path)
        assert answer.status_code == 425
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert client.head(path).status_code == 425
    gate.touch()
    until(client, upload_id, "released")
    answer = client.get(f"/api/v1/files/{upload_id}/content")
    assert answer.content == b"content"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    etag = answer.headers["ETag"]
    assert client.get(f"/api/v1/files/{upload_id}/content", headers={"If-None-Match": etag}).status_code == 304
    part = client.get(f"/api/v1/files/{upload_id}/content", headers={"Range": "bytes=2-3"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"nt", "bytes 2-3/7")
    assert client.get(f"/api/v1/files/{upload_id}/content", headers={"Range": "bytes=9-"}).status_code == 416


def test_delete_cancels_a_run_and_frees_the_bytes(client: httpx.Client, server: PenstockServer, gate: Path) -> None:
    upload_id = put(client, "held-2.txt", b"x" * 1000)
    assert client.delete(f"/api/v1/uploads/{upload_id}").status_code == 204
    assert until(client, upload_id, "cancelled")["processing"] is None
    assert not [path for path in server.staging if path.name.startswith(upload_id)]
    assert client.get(f"/api/v1/files/{upload_id}/content").status_code == 410
    gate.touch()

    def is_forgotten() -> bool:  # once the coordinator has heard of it
        records = client.get("/api/v1/postprocessing").json()["records"]
        return upload_id not in [record["id"] for record in records]

    asyncio.run(eventually(is_forgotten, timeout_seconds=60))


def test_a_bad_end_is_listed_until_somebody_takes_note_of_it(client: httpx.Client) -> None:
    upload_id = put(client, "noted.txt", b"x")
    note = f"/api/v1/uploads/{upload_id}/acknowledge"
    early = client.post(note)
    assert (early.status_code, early.json()["code"]) == (400, "invalid-request")
    client.delete(f"/api/v1/uploads/{upload_id}")
    assert client.get(f"/api/v1/uploads/{upload_id}").json()["phase"] == "cancelled"
    assert client.post(note).status_code == 204
    assert client.get(f"/api/v1/uploads/{upload_id}").status_code == 404
    assert client.post(note).status_code == 404
    assert client.post(note, headers={"Origin": "https://evil.example"}).status_code == 403


def test_eicar_is_never_readable_by_any_way_in(client: httpx.Client) -> None:
    by_put = put(client, "virus.com", eicar())
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "68", "Content-Type": "application/offset+octet-stream"}
    answer = client.post("/uploads/", headers=headers, content=eicar())
    assert answer.status_code == 201
    for upload_id in (by_put, answer.headers["Location"].rpartition("/")[2]):
        upload = until(client, upload_id, "deleted")
        assert upload["scan"]["infected"]
        assert upload["reason"] == "infected: EICAR_Test_File"
        assert client.get(f"/api/v1/files/{upload_id}/content").status_code == 410
        assert client.head(f"/uploads/{upload_id}", headers={"Tus-Resumable": "1.0.0"}).status_code == 410
    assert client.get("/files/virus.com").status_code in (404, 410)


def test_a_failing_step_is_retried_and_then_gives_up_with_its_message(client: httpx.Client) -> None:
    upload_id = put(client, "bad.txt", b"x")
    upload = until(client, upload_id, "rejected")
    assert "no luck" in upload["reason"]
    assert upload["outcome"] == "abort"
    assert upload["processing"]["last_error"].endswith("no luck")
    rows = client.post("/api/v1/postprocessing/restart", json={"upload_id": upload_id}).json()["results"]
    assert [(row["id"], row["ok"]) for row in rows] == [(upload_id, True)]
    assert until(client, upload_id, "rejected")["run"] == 2


def test_events_are_replayed_and_end(client: httpx.Client) -> None:
    upload_id = put(client, "plain.txt", b"x")
    until(client, upload_id, "released")
    events = list(read_events(client, f"/api/v1/uploads/{upload_id}/events"))
    kinds = [kind for kind, _ in events]
    assert kinds[0] == "created"
    assert kinds[-2:] == ["released", "end"]
    assert kinds.count("step_started") == 2
    seen = [entry["seq"] for _, entry in events[:-1]]
    assert seen == sorted(set(seen))
    later = list(read_events(client, f"/api/v1/uploads/{upload_id}/events", {"Last-Event-ID": str(seen[2])}))
    assert [entry["seq"] for _, entry in later[:-1]] == seen[3:]
    last = list(read_events(client, f"/api/v1/uploads/{upload_id}/events", {"Last-Event-ID": str(seen[-1])}))
    assert last == [("end", {})]


def test_who_comes_with_a_number_of_another_database_hears_what_is_new(client: httpx.Client) -> None:
    with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": "999999999"}) as stream:
        put(client, "new.txt", b"x")
        for line in stream.iter_lines():
            assert not line.startswith(": still here")
            if line.startswith("id: "):
                break


def read_events(
    client: httpx.Client, path: str, headers: dict[str, str] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    with client.stream("GET", path, headers=headers or {}) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))
                if kind == "end":
                    return


def test_metrics_count_what_happened(client: httpx.Client) -> None:
    until(client, put(client, "counted.txt", b"x"), "released")
    until(client, put(client, "bad.txt", b"x"), "rejected")
    names = (
        'penstock_step_outcomes_total{outcome="continue",step="virusscan"}',
        "penstock_step_seconds_count",
        'penstock_queue_depth{group="postprocessing"}',
        "penstock_oldest_processing_seconds",
        "penstock_stalled_uploads",
        'penstock_retries_total{step="gate"}',
        'penstock_uploads{phase="released"}',
    )

    def missing() -> list[str]:
        text = client.get("/metrics").text
        return [name for name in names if name not in text]

    asyncio.run(eventually(lambda: not missing()))  # who asks does not wait for what takes long to count


def test_documentation_works_without_the_internet(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text.replace("https://github.com", "")
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/v1/uploads", "/api/v1/files", "/api/v1/postprocessing", "/api/v1/events"} <= set(paths)


def test_wrong_requests_are_told_what_to_do(client: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/api/v1/uploads/nonsense", 404),
        ("GET", "/api/v1/uploads?limit=0", 422),
        ("GET", "/api/v1/uploads?cursor=x", 400),
        ("GET", "/nowhere", 404),
        ("PUT", "/files/..%2Fescape", 400),
        ("GET", "/files/nothing-of-that-name", 404),
    ):
        answer = client.request(method, path, content=b"x" if method == "PUT" else None)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["detail"]
    assert client.post("/api/v1/paths/copy", json=[]).json()["detail"].startswith("the body: ")
