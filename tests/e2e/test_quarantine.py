"""Infected files that are kept aside, on a real server, by every way out."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from penstock.antivirus.eicar import eicar
from tests.servers import copies
from tests.servers.penstock import PenstockServer
from tests.servers.webhook import Webhook, running_webhook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INFECTED = b"a letter " + eicar() + b" and its end"
API = "/api/v1/antivirus/quarantine"


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    with running_webhook() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, hook: Webhook) -> Iterator[PenstockServer]:
    environment = {"ANTIVIRUS_INFECTED_FILE_HANDLING": "quarantine", "PENSTOCK_ANTIVIRUS_ALERT_URL": hook.url}
    with PenstockServer(tmp_path_factory.mktemp("quarantine"), **environment) as running:
        yield running


@pytest.fixture
def client(server: PenstockServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def until(client: httpx.Client, upload_id: str, phase: str) -> dict[str, Any]:
    ends_at = time.monotonic() + 60
    while (view := client.get(f"/api/v1/uploads/{upload_id}").json())["phase"] != phase:
        assert time.monotonic() < ends_at, view
        time.sleep(0.01)
    return dict(view)


def quarantined(client: httpx.Client, name: str) -> str:
    upload_id = str(client.put(f"/files/{name}", content=INFECTED).json()["id"])
    assert until(client, upload_id, "rejected")["outcome"] == "quarantine"
    return upload_id


def unreadable(client: httpx.Client, upload_id: str, name: str) -> None:
    by_name = client.get(f"/files/{name}")
    by_id = client.get(f"/api/v1/files/{upload_id}/content")
    by_tus = client.get(f"/uploads/{upload_id}", headers={"Tus-Resumable": "1.0.0"})
    for answer in (by_name, by_id, by_tus):
        assert answer.status_code >= 400, answer
        assert eicar() not in answer.content
    assert name not in client.get("/api/v1/files").text


def command(server: PenstockServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = ["antivirus", "quarantine", *arguments, "--url", server.url]
    return copies.run(line, environment=copies.without_settings())


def acts(client: httpx.Client, upload_id: str) -> list[tuple[str, str, str]]:
    log = client.get(f"{API}/{upload_id}").json()["log"]
    return [(entry["act"], entry["actor"], entry["reason"]) for entry in log]


def test_it_is_unreadable_until_somebody_releases_it_for_a_reason(client: httpx.Client, server: PenstockServer) -> None:
    upload_id = quarantined(client, "released.txt")
    unreadable(client, upload_id, "released.txt")
    assert upload_id in [upload["id"] for upload in client.get(API).json()["uploads"]]
    for reason in ({}, {"reason": "  "}):
        answer = client.post(f"{API}/{upload_id}/release", json=reason)
        assert (answer.status_code, "needs a reason" in answer.text) == (400, True)
    unreadable(client, upload_id, "released.txt")
    answer = client.post(f"{API}/{upload_id}/release", json={"reason": "our own test file", "actor": "anna"})
    assert (answer.status_code, answer.json()["phase"]) == (200, "released")
    assert client.get(f"/api/v1/files/{upload_id}/content").content == INFECTED
    assert client.get("/files/released.txt").content == INFECTED
    assert upload_id not in [upload["id"] for upload in client.get(API).json()["uploads"]]
    assert acts(client, upload_id) == [
        ("quarantined", "virusscan", "infected: EICAR_Test_File"),
        ("released", "anna", "our own test file"),
    ]
    assert client.post(f"{API}/{upload_id}/release", json={"reason": "again"}).status_code == 400
    ends_at = time.monotonic() + 60
    while upload_id in client.get("/api/v1/postprocessing").text:  # until the coordinator has heard of it
        assert time.monotonic() < ends_at


def test_the_administrator_is_alerted_once(client: httpx.Client, server: PenstockServer, hook: Webhook) -> None:
    hook.statuses = [500]  # it is posted again
    upload_id = quarantined(client, "alert.txt")
    ends_at = time.monotonic() + 60
    while upload_id not in [alert.get("upload_id") for alert in hook.posted]:
        assert time.monotonic() < ends_at
        time.sleep(0.01)
    assert client.post(f"{API}/{upload_id}/release", json={"reason": "our own"}).status_code == 200
    [alert] = [alert for alert in hook.posted if alert.get("upload_id") == upload_id]
    assert (alert["kind"], alert["signature"]) == ("virus-found", "EICAR_Test_File")
    assert (alert["filename"], alert["size_bytes"]) == ("alert.txt", len(INFECTED))
    assert alert["text"].endswith("the file is in quarantine.")
    log = server.log_path.read_text()
    assert [line for line in log.splitlines() if "virus_found" in line and upload_id in line and "error" in line]
    assert "s3cret" not in log
    assert 'penstock_viruses_found_total{scanner="yara"}' in client.get("/metrics").text


def test_it_is_gone_when_it_is_deleted(client: httpx.Client, server: PenstockServer) -> None:
    upload_id = quarantined(client, "deleted.txt")
    assert [path for path in server.staging if path.name.startswith(upload_id)]
    answer = client.post(f"{API}/{upload_id}/delete", json={"reason": "really bad", "actor": "anna"})
    assert (answer.status_code, answer.json()["phase"]) == (200, "deleted")
    unreadable(client, upload_id, "deleted.txt")
    blobs = server.data_dir / "blobs"
    assert not [path for path in blobs.rglob("*") if path.name.startswith(upload_id)]
    assert acts(client, upload_id)[1:] == [("deleted", "anna", "really bad")]
    assert client.post(f"{API}/{upload_id}/release", json={"reason": "too late"}).status_code == 400


def test_other_ways_out_are_in_the_log_too(client: httpx.Client) -> None:
    removed, again = quarantined(client, "removed.txt"), quarantined(client, "again.txt")
    assert client.delete(f"/api/v1/uploads/{removed}").status_code == 204
    assert [act for act, _, _ in acts(client, removed)] == ["quarantined", "deleted"]
    client.post("/api/v1/uploads/actions", json={"action": "restart", "id": again})
    assert until(client, again, "rejected")["run"] == 2
    unreadable(client, again, "again.txt")
    assert [act for act, _, _ in acts(client, again)] == ["quarantined", "restarted", "quarantined"]


def test_what_is_not_there_is_said(client: httpx.Client) -> None:
    for method, path in (("GET", ""), ("POST", "/release"), ("POST", "/delete")):
        answer = client.request(method, f"{API}/{'0' * 32}{path}", json={"reason": "x"})
        assert (answer.status_code, "no upload" in answer.text) == (404, True)
    clean = client.put("/files/clean.txt", content=b"harmless").json()["id"]
    until(client, clean, "released")
    answer = client.post(f"{API}/{clean}/delete", json={})
    assert (answer.status_code, "is not in quarantine: it is released" in answer.text) == (400, True)
    assert client.get(f"{API}/{clean}").json()["log"] == []


def test_pages_of_the_list_and_of_the_log(client: httpx.Client) -> None:
    ids = [quarantined(client, f"page-{number}.txt") for number in range(3)]
    first = client.get(API, params={"limit": 2}).json()
    second = client.get(API, params={"limit": 2, "cursor": first["next"]}).json()
    assert [upload["id"] for upload in (*first["uploads"], *second["uploads"])][:3] == ids[::-1]
    log = client.get(f"{API}/log", params={"limit": 1}).json()
    following = client.get(f"{API}/log", params={"limit": 1, "cursor": log["next"]}).json()
    assert [entry["upload_id"] for entry in (*log["log"], *following["log"])] == ids[:0:-1]


def test_the_commands(client: httpx.Client, server: PenstockServer) -> None:
    kept, gone = quarantined(client, "kept.txt"), quarantined(client, "gone.txt")
    listed = command(server, "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [upload["id"] for upload in json.loads(listed.stdout)][:2] == [gone, kept]
    assert re.search(rf"{kept} .*kept\.txt.* EICAR_Test_File .*yara", command(server, "list").stdout)
    shown = command(server, "show", kept)
    assert "yara-x" in shown.stdout
    assert "quarantined" in shown.stdout
    refused = command(server, "release", kept, "--reason", " ")
    assert (refused.returncode, "--reason is empty" in refused.stderr) == (2, True)
    assert command(server, "release", kept).returncode == 2
    assert until(client, kept, "rejected")
    released = command(server, "release", kept, "--reason", "false positive", "--json")
    assert (released.returncode, json.loads(released.stdout)["phase"]) == (0, "released")
    assert client.get("/files/kept.txt").content == INFECTED
    asked = command(server, "delete", gone)
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert command(server, "delete", gone, "--yes", "--as", "bert").returncode == 0
    until(client, gone, "deleted")
    log = json.loads(command(server, "list", "--log", "--json").stdout)
    assert [(entry["upload_id"], entry["act"], entry["reason"]) for entry in log[:2]] == [
        (gone, "deleted", ""),
        (kept, "released", "false positive"),
    ]
    assert log[0]["actor"] == "bert"
    assert "@" in log[1]["actor"]


def test_it_stays_there_over_a_kill(tmp_path: Path) -> None:
    environment = {"ANTIVIRUS_INFECTED_FILE_HANDLING": "quarantine"}
    with PenstockServer(tmp_path, **environment) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        upload_id = quarantined(client, "stays.txt")
        server.kill()
        server.start()
        unreadable(client, upload_id, "stays.txt")
        assert client.get(API).json()["uploads"][0]["id"] == upload_id
        client.post(f"{API}/{upload_id}/release", json={"reason": "looked at it"}).raise_for_status()
        server.kill()
        server.start()
        assert client.get("/files/stays.txt").content == INFECTED
        assert [act for act, _, _ in acts(client, upload_id)] == ["quarantined", "released"]
