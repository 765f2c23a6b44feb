"""The copies by which tests start the command do what the installed one does."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from tests.servers.copies import INSTALLED, Copy, run, start, without_settings
from tests.servers.penstock import PenstockServer

SET = {"POSTPROCESSING_DELAY": "2s"}


def test_a_copy_says_what_the_installed_command_says(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text('log_level = "debug"\n')
    environment = without_settings() | SET
    copied = run(["config", "--json"], environment=environment, folder=tmp_path)
    installed = subprocess.run(
        [*INSTALLED, "config", "--json"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (copied.returncode, copied.stdout, copied.stderr) == (0, installed.stdout, installed.stderr)
    values = {one["name"]: one["value"] for one in json.loads(copied.stdout)}
    assert (values["delay"], values["log_level"]) == ("2s", "debug")


def test_a_copy_knows_nothing_of_the_one_before(tmp_path: Path) -> None:
    assert run(["config"], environment={"POSTPROCESSING_DELAY": "2"}, folder=tmp_path).returncode == 2
    assert run(["config"], environment={}, folder=tmp_path).returncode == 0


def test_a_copy_ends_as_a_signal_has_it(tmp_path: Path) -> None:
    with PenstockServer(tmp_path, POSTPROCESSING_STEPS="") as server:
        assert isinstance(server.process, Copy)
        server.kill()
        assert server.process.returncode == -signal.SIGKILL
        server.process.kill()  # which is nothing any more
        server.start()
        assert server.stop() == 0


def test_what_a_copy_writes_is_appended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    process = start(["nonsense"], log=log, environment=without_settings())
    assert process.wait(60) == 2
    said = log.read_text()
    assert said.startswith("before\n")
    assert "No such command" in said
