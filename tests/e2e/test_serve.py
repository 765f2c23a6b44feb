"""`penstock serve` as an operator meets it: refuses what is wrong in one line, and ends when asked to."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.copies import installed
from tests.servers.penstock import PenstockServer

SLOW_STEP = """
import time
from penstock import Outcome, step

@step("slow", workers=4)
def slow(upload):
    for _ in range(100):
        if upload.cancelled:
            break
        time.sleep(0.02)
    return Outcome.CONTINUE
"""


def refused(folder: Path, *arguments: str, **environment: str) -> str:
    """Start a server that must not start; return what it said."""
    server = PenstockServer(folder, *arguments, **environment)
    process = server.launch()
    try:
        assert process.wait(timeout=120) == 2
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
    lines = [line for line in server.log_path.read_text().splitlines() if line.startswith("penstock: ")]
    assert len(lines) == 1, server.last_words()
    assert "Traceback" not in server.log_path.read_text()
    return lines[0]


def test_an_unknown_store_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, POSTPROCESSING_STORE="redsi")
    assert "POSTPROCESSING_STORE=redsi" in said
    assert "sqlite" in said


def test_a_duration_without_a_unit_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, POSTPROCESSING_RETRY_BACKOFF_DURATION="5x")
    assert "POSTPROCESSING_RETRY_BACKOFF_DURATION=5x (environment)" in said
    assert "5s or 1m30s" in said


def test_a_misspelt_step_is_refused_with_a_guess(tmp_path: Path) -> None:
    said = refused(tmp_path, POSTPROCESSING_STEPS="virusscna")
    assert "virusscna" in said
    assert "virusscan" in said.replace("virusscna", "")


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    assert "data_dir" in refused(tmp_path)


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = PenstockServer(tmp_path)
        server.port = taken.getsockname()[1]
        with installed():
            assert server.launch().wait(timeout=120) == 2
        assert f"127.0.0.1:{server.port}" in server.last_words()
        assert not server.data_dir.exists()


def test_a_second_server_on_one_folder_is_refused(tmp_path: Path) -> None:
    with PenstockServer(tmp_path):
        second = PenstockServer(tmp_path)
        second.log_path = tmp_path / "second.log"
        assert second.launch().wait(timeout=120) == 2
        assert "another penstock" in second.last_words()


@pytest.mark.parametrize("content", ["", "x = 1\n", "raise ValueError('broken')\n"])
def test_a_file_without_a_usable_step_is_refused(tmp_path: Path, content: str) -> None:
    steps = tmp_path / "mine.py"
    steps.write_text(content)
    assert str(steps) in refused(tmp_path, "--steps", str(steps))


def test_sigterm_ends_within_the_grace_period_and_loses_nothing(tmp_path: Path) -> None:
    steps = tmp_path / "slow.py"
    steps.write_text(SLOW_STEP)
    environment = {"POSTPROCESSING_STEPS": "virusscan,slow", "PENSTOCK_GRACE_PERIOD": "3s"}
    server = PenstockServer(tmp_path, "--steps", str(steps), **environment)
    with installed(), server:
        names = [f"file-{number}.txt" for number in range(20)]
        for name in names:
            assert httpx.put(f"{server.url}/files/{name}", content=b"some bytes").status_code == 202
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 60
        server.data_dir = server.data_dir.rename(tmp_path / "moved")  # the operator has found a larger disk
        server.start()
        end = time.monotonic() + 180
        page: list[dict[str, Any]] = []
        while time.monotonic() < end:
            page = httpx.get(f"{server.url}/api/v1/uploads").json()["uploads"]
            if all(one["phase"] == "released" for one in page):
                break
            time.sleep(0.1)
        assert sorted(one["filename"] for one in page if one["phase"] == "released") == sorted(names)
        assert server.staging == []


def test_sigterm_ends_an_open_event_stream_at_once(tmp_path: Path) -> None:
    server = PenstockServer(tmp_path, PENSTOCK_GRACE_PERIOD="60s")
    with server, httpx.stream("GET", f"{server.url}/api/v1/events", timeout=120) as stream:
        assert stream.status_code == 200
        assert server.stop() == 0
        assert b"".join(stream.iter_bytes()).startswith(b"retry:")
    assert "Traceback" not in server.last_words()


def test_sigterm_does_not_wait_for_who_reads_slowly(tmp_path: Path) -> None:
    server = PenstockServer(tmp_path, POSTPROCESSING_STEPS="", PENSTOCK_GRACE_PERIOD="500ms")
    with server:
        large = bytes(64 * 1024 * 1024)
        assert httpx.put(f"{server.url}/files/large", content=large, timeout=60).status_code == 202
        end = time.monotonic() + 60
        while httpx.head(f"{server.url}/files/large").status_code != 200:
            assert time.monotonic() < end
        with httpx.stream("GET", f"{server.url}/files/large") as reading:
            assert reading.status_code == 200
            assert server.stop() == 0
    assert "Traceback" not in server.last_words()


def test_an_address_may_be_given_by_name(tmp_path: Path) -> None:
    server = PenstockServer(tmp_path)
    server.host = "localhost"
    with server:
        assert httpx.get(f"{server.url}/healthz").status_code == 200


QUICK_STEP = """
from penstock import Outcome, step

@step("refuse")
def refuse(upload):
    return Outcome.DELETE
"""
RULES = """
[[step_rules]]
extension = "exe"
steps = ["virusscan", "refuse"]

[[step_rules]]
max_size = 0
steps = []
"""


def test_rules_choose_the_steps_of_an_upload(tmp_path: Path) -> None:
    steps, rules = tmp_path / "refuse.py", tmp_path / "rules.toml"
    steps.write_text(QUICK_STEP)
    rules.write_text(RULES)
    with PenstockServer(tmp_path, "--steps", str(steps), PENSTOCK_STEP_RULES=str(rules)) as server:
        for name, content in {"setup.EXE": b"MZ", "notes.txt": b"plain", "empty.txt": b""}.items():
            assert httpx.put(f"{server.url}/files/{name}", content=content).status_code == 202

        def uploads() -> dict[str, str]:
            page = httpx.get(f"{server.url}/api/v1/uploads").json()["uploads"]
            return {one["filename"]: one["phase"] for one in page}

        end = time.monotonic() + 60
        while (found := uploads()) and {"receiving", "processing"} & set(found.values()):
            assert time.monotonic() < end, found
            time.sleep(0.05)
        assert found == {"setup.EXE": "deleted", "notes.txt": "released", "empty.txt": "released"}


def test_a_rule_with_a_step_that_nobody_answers_is_refused(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[[step_rules]]\nspace = 'a'\nsteps = ['virusscna']\n")
    said = refused(tmp_path, PENSTOCK_STEP_RULES=str(rules))
    assert "step_rules, space 'a' → virusscna (environment: PENSTOCK_STEP_RULES): nobody answers" in said
    assert "Did you mean virusscan?" in said


def test_a_rule_that_is_wrong_is_refused(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[[step_rules]]\nspaec = 'a'\nsteps = []\n")
    assert "rule 1: spaec: there is no such condition. Did you mean space?" in refused(
        tmp_path, PENSTOCK_STEP_RULES=str(rules)
    )
