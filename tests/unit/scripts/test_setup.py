"""scripts/setup on machines that lack something, each made of a folder of commands that is its whole PATH."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[3] / "scripts" / "setup"
BASICS = ("cat", "chmod", "dirname", "head", "mktemp", "rm", "sh", "sha256sum", "tail", "tr")

Machine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(SETUP, folder / "scripts" / "setup")
    return folder


@pytest.fixture
def machine(clone: Path, tmp_path: Path) -> Machine:
    """Runs the set-up where only `commands`, given by name with their shell script, and the basics exist."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in BASICS:
        found = shutil.which(name)
        assert found is not None, f"{name} is not on this machine"
        (path / name).symlink_to(found)

    def run(set_name: str, **commands: str) -> subprocess.CompletedProcess[str]:
        for name, script in commands.items():
            command = path / name.replace("_", "-")
            command.write_text(f"#!{path}/sh\n{script}\n")
            command.chmod(0o755)
        return subprocess.run(
            [clone / "scripts" / "setup", set_name],
            env={"PATH": str(path), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


PYTHON_WITHOUT_VENV = 'case "$*" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac'
APT_THAT_FAILS = 'echo "E: $* failed"; exit 100'


def test_who_is_not_root_is_told_the_command_and_nothing_happens(machine: Machine, clone: Path) -> None:
    done = machine("bench", id="echo 1000", apt_get=APT_THAT_FAILS, python3=PYTHON_WITHOUT_VENV)
    assert done.returncode == 2
    assert "these packages are missing: python3-venv" in done.stderr
    assert "apt-get update && apt-get install --no-install-recommends python3-venv" in done.stderr
    assert "chromium curl openssl nodejs npm" in done.stderr
    assert "E: " not in done.stderr
    assert sorted(path.name for path in clone.iterdir()) == ["scripts"]


def test_a_missing_library_is_named_by_its_package(machine: Machine) -> None:
    done = machine("test", id="echo 1000", python3='case "$*" in *libatomic.so.1) exit 1 ;; *) exit 0 ;; esac')
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith("libatomic1. Install them and try again.")


def test_the_demo_asks_for_no_more_than_python(machine: Machine) -> None:
    done = machine("demo", id="echo 1000", apt_get=APT_THAT_FAILS, python3=PYTHON_WITHOUT_VENV)
    assert done.returncode == 2
    assert "these packages are missing: python3-venv. " in done.stderr


def test_without_apt_the_packages_are_named_all_the_same(machine: Machine) -> None:
    done = machine("demo", id="echo 0", python3=PYTHON_WITHOUT_VENV)
    assert done.returncode == 2
    assert "what your system calls them, are missing: python3-venv." in done.stderr


def test_a_python_that_is_too_old_counts_as_none(machine: Machine) -> None:
    done = machine("demo", id="echo 1000", apt_get=APT_THAT_FAILS, python3="exit 1")
    assert "missing: python3 python3-venv. " in done.stderr


def test_what_apt_said_is_shown_when_it_fails(machine: Machine) -> None:
    done = machine("demo", id="echo 0", apt_get=APT_THAT_FAILS, python3=PYTHON_WITHOUT_VENV)
    assert done.returncode == 2
    assert "update failed" in done.stderr
    assert "apt-get could not install: python3-venv." in done.stderr


def test_an_unknown_set_is_refused(machine: Machine) -> None:
    done = machine("everything")
    assert done.returncode == 2
    assert "unknown set 'everything'" in done.stderr
