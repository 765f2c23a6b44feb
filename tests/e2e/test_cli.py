"""The command line against a real server, as an operator types it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.antivirus.eicar import eicar
from tests.servers import copies
from tests.servers.clamd import running_clamd
from tests.servers.penstock import PenstockServer

STEPS = """
from penstock import Outcome, step

@step("moody")
def moody(upload):
    if upload.filename.startswith("bad"):
        raise RuntimeError("bad mood")
    return Outcome.CONTINUE
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    folder = tmp_path_factory.mktemp("server")
    steps = folder / "steps.py"
    steps.write_text(STEPS)
    environment = {
        "POSTPROCESSING_STEPS": "virusscan,moody",
        "POSTPROCESSING_RETRY_BACKOFF_DURATION": "1h",
        "ANTIVIRUS_INFECTED_FILE_HANDLING": "abort",
    }
    with PenstockServer(folder, "--steps", str(steps), **environment) as running:
        yield running


def penstock(*arguments: str, home: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = copies.without_settings()
    if home is not None:
        clean |= {"HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
    return copies.run(arguments, environment=clean | environment)


def until_in_backoff(server: PenstockServer, upload_id: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    upload: dict[str, Any] = {}
    while time.monotonic() < end:
        upload = httpx.get(f"{server.url}/api/v1/uploads/{upload_id}").json()
        if upload["processing"] and upload["processing"]["state"] == "backoff":
            return upload
        time.sleep(0.05)
    raise AssertionError(upload)


def test_upload_waits_for_the_outcome_and_exits_with_it(server: PenstockServer, tmp_path: Path) -> None:
    good, empty, virus = tmp_path / "good.txt", tmp_path / "empty.txt", tmp_path / "virus.com"
    good.write_text("hello")
    empty.touch()
    virus.write_bytes(eicar())
    arguments = ("upload", "--url", server.url, "--wait", "--json")
    fine = penstock(*arguments, str(good), str(empty), home=tmp_path)
    assert fine.returncode == 0, fine.stderr
    assert [one["phase"] for one in json.loads(fine.stdout)] == ["released", "released"]
    bad = penstock(*arguments, str(good), str(virus), home=tmp_path)
    assert bad.returncode == 1
    assert [one["phase"] for one in json.loads(bad.stdout)] == ["released", "rejected"]
    assert "EICAR" in json.loads(bad.stdout)[1]["reason"]


def test_upload_refuses_what_it_cannot_do(server: PenstockServer, tmp_path: Path) -> None:
    missing = penstock("upload", "--url", server.url, str(tmp_path / "nothing"))
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "no such file" in missing.stderr
    folder = penstock("upload", "--url", server.url, str(tmp_path))
    assert folder.returncode == 2
    assert "--recursive" in folder.stderr


def test_a_server_that_is_away_is_one_clear_line() -> None:
    gone = penstock("postprocessing", "list", "--url", "http://127.0.0.1:1")
    assert gone.returncode == 2
    assert gone.stderr.count("\n") == 1
    assert "penstock serve" in gone.stderr


def test_lists_show_step_attempt_next_try_error_and_age(server: PenstockServer, tmp_path: Path) -> None:
    upload_id = httpx.put(f"{server.url}/files/bad-list.txt", content=b"x").json()["id"]
    until_in_backoff(server, upload_id)
    listed = json.loads(penstock("postprocessing", "list", "--url", server.url, "--json").stdout)
    record = next(one for one in listed if one["id"] == upload_id)
    assert (record["step"], record["attempt"], record["state"]) == ("moody", 1, "backoff")
    assert record["next_try_at"]
    assert record["last_error"].endswith("bad mood")
    assert record["age_seconds"] > 0
    table = penstock("postprocessing", "list", "--url", server.url).stdout
    assert upload_id in table
    assert "bad mood" in table
    for group in (("uploads",), ("storage-users", "uploads")):
        sessions = penstock(*group, "sessions", "--url", server.url, "--json", "--id", upload_id)
        assert [one["id"] for one in json.loads(sessions.stdout)] == [upload_id]
    assert upload_id in penstock("uploads", "sessions", "--url", server.url, "--processing", "true").stdout
    assert upload_id not in penstock("uploads", "sessions", "--url", server.url, "--processing=false").stdout


def test_resume_prints_a_row_per_upload_and_exits_3_for_none(server: PenstockServer) -> None:
    upload_id = httpx.put(f"{server.url}/files/bad-resume.txt", content=b"x").json()["id"]
    until_in_backoff(server, upload_id)
    done = penstock("postprocessing", "resume", "-u", upload_id, "--url", server.url, "--json")
    assert done.returncode == 0
    rows = json.loads(done.stdout)["results"]
    assert [(row["id"], row["step"], row["ok"]) for row in rows] == [(upload_id, "moody", True)]
    until_in_backoff(server, upload_id)
    by_step = penstock("postprocessing", "resume", "-s", "moody", "--url", server.url, "--json")
    assert upload_id in [row["id"] for row in json.loads(by_step.stdout)["results"]]
    nothing = penstock("postprocessing", "resume", "-s", "nosuchstep", "--url", server.url)
    assert nothing.returncode == 3
    assert "nothing matched" in nothing.stderr


def test_mass_restart_leaves_infected_files_alone(server: PenstockServer) -> None:
    upload_id = httpx.put(f"{server.url}/files/virus-restart.com", content=eicar()).json()["id"]
    end = time.monotonic() + 60
    while httpx.get(f"{server.url}/api/v1/uploads/{upload_id}").json()["phase"] != "rejected":
        assert time.monotonic() < end
        time.sleep(0.05)
    mass = penstock("uploads", "sessions", "--restart", "--has-virus=true", "--url", server.url, "--json")
    assert mass.returncode == 4
    assert not any(row["ok"] for row in json.loads(mass.stdout)["results"])
    assert httpx.get(f"{server.url}/api/v1/uploads/{upload_id}").json()["run"] == 1
    named = penstock("uploads", "sessions", "--restart", "--id", upload_id, "--url", server.url, "--json")
    assert named.returncode == 0


def test_clean_removes_sessions_after_a_dry_run(server: PenstockServer) -> None:
    upload_id = httpx.put(f"{server.url}/files/bad-clean.txt", content=b"x").json()["id"]
    until_in_backoff(server, upload_id)
    arguments = ("uploads", "sessions", "--clean", "--id", upload_id, "--url", server.url, "--json")
    dry = penstock(*arguments, "--dry-run")
    assert dry.returncode == 0
    assert httpx.get(f"{server.url}/api/v1/uploads/{upload_id}").json()["phase"] == "processing"
    assert penstock(*arguments, "--yes").returncode == 0
    assert httpx.get(f"{server.url}/api/v1/uploads/{upload_id}").json()["phase"] == "cancelled"


def test_scan_tells_by_its_exit_status(tmp_path: Path) -> None:
    clean, virus = tmp_path / "clean.txt", tmp_path / "virus.com"
    clean.write_text("hello")
    virus.write_bytes(b"x" * 100_000 + eicar())
    assert penstock("antivirus", "scan", str(clean)).returncode == 0
    found = penstock("antivirus", "scan", "--json", str(clean), str(virus))
    assert found.returncode == 1
    assert [one["verdict"] for one in json.loads(found.stdout)] == ["clean", "infected"]
    assert penstock("antivirus", "scan", str(tmp_path / "nothing")).returncode == 2


def test_each_scanner_is_put_to_the_test(tmp_path: Path) -> None:
    with running_clamd(tmp_path) as clamd:
        check = partial(
            penstock,
            "antivirus",
            "check",
            ANTIVIRUS_SCANNER_TYPE="clamav,yara",
            ANTIVIRUS_CLAMAV_SOCKET=clamd.unix_address,
            PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE="16MiB",
        )
        well = check("--json")
        assert well.returncode == 0, well.stdout
        found = {one["scanner"]: one for one in json.loads(well.stdout)}
        assert found["clamav"]["engine_version"].startswith("ClamAV ")
        assert found["yara"]["engine_version"].startswith("yara-x ")
        assert found["yara"]["database_version"]
        clamd.kill()
        ill = check()
    assert ill.returncode == 1
    clamav, yara = ill.stdout.splitlines()[-2:]
    assert clamav.startswith("wrong")
    assert "no connection to clamd" in clamav
    assert yara.startswith("ok")
    (tmp_path / "bad.yar").write_text("rule {")
    broken = penstock("antivirus", "check", "--json", PENSTOCK_ANTIVIRUS_YARA_RULES=str(tmp_path / "bad.yar"))
    assert broken.returncode == 1
    assert f"{tmp_path}/bad.yar:1" in json.loads(broken.stdout)[0]["detail"]


def test_config_says_where_values_come_from(tmp_path: Path) -> None:
    shown = penstock("config", "--json", POSTPROCESSING_DELAY="2s", OCIS_LOG_LEVEL="debug", OC_LOG_LEVEL="error")
    values = {one["name"]: one for one in json.loads(shown.stdout)}
    assert values["delay"]["value"] == "2s"
    assert "POSTPROCESSING_DELAY" in values["delay"]["origin"]
    assert values["log_level"]["value"] == "error"
    assert "OC_LOG_LEVEL" in values["log_level"]["origin"]
    assert values["max_retries"]["origin"] == "default"
    wrong = penstock("config", POSTPROCESSING_DELAY="2")
    assert wrong.returncode == 2
    assert "POSTPROCESSING_DELAY=2" in wrong.stderr


def test_doctor_finds_a_scanner_that_is_not_there(tmp_path: Path, server: PenstockServer) -> None:
    port = str(server.port)
    running = penstock("doctor", "--json", PENSTOCK_HTTP_ADDR=f"127.0.0.1:{port}")
    assert running.returncode == 0, running.stdout
    assert "server" in [one["name"] for one in json.loads(running.stdout)]
    ill = penstock(
        "doctor",
        "--json",
        PENSTOCK_HTTP_ADDR="127.0.0.1:1",
        PENSTOCK_DATA_DIR=str(tmp_path),
        ANTIVIRUS_SCANNER_TYPE="clamav",
        ANTIVIRUS_CLAMAV_SOCKET=str(tmp_path / "no.sock"),
    )
    assert ill.returncode == 1
    checks = {one["name"]: one for one in json.loads(ill.stdout)}
    assert not checks["scanner"]["ok"]
    assert checks["scanner"]["hint"]


def test_the_shell_completes_commands() -> None:
    completed = penstock(
        _PENSTOCK_COMPLETE="complete_bash",
        COMP_WORDS="penstock postp",
        COMP_CWORD="1",
        _TYPER_COMPLETE_ARGS="penstock postp",
    )
    assert "postprocessing" in completed.stdout
    assert penstock("--version").stdout.startswith("penstock ")
