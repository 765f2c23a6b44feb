"""The pages of settings and commands are made from the code; here, that nothing of the code is missing in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli.exits import Status
from penstock.settings.entries import Entry
from penstock.settings.table import table

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "docs" / "reference"
SETTINGS = (REFERENCE / "settings.md").read_text()
COMMANDS = (REFERENCE / "cli.md").read_text()


@pytest.mark.parametrize("name", ["settings", "cli", "events"])
def test_the_page_is_what_the_code_says(name: str) -> None:
    check = [sys.executable, "-m", f"scripts.generate_{name}_doc", "--check"]
    ended = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("entry", table().values(), ids=lambda entry: entry.name)
def test_each_setting_is_explained(entry: Entry) -> None:
    (row,) = [line for line in SETTINGS.splitlines() if line.startswith(f"| `{entry.name}` |")]
    assert entry.sentence in row
    assert all(f"`{other.variable}`" in row for other in entry.others)


@pytest.mark.parametrize(
    "command",
    [
        *("serve", "upload", "config", "doctor", "antivirus scan", "uploads sessions"),
        *("postprocessing list", "postprocessing resume", "postprocessing restart"),
    ],
)
def test_each_command_is_explained(command: str) -> None:
    assert f"\n## `penstock {command}`\n" in COMMANDS


@pytest.mark.parametrize("status", Status)
def test_each_exit_status_is_explained(status: Status) -> None:
    assert f"\n| {status.value} | {status.meaning} |\n" in COMMANDS
