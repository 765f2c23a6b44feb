"""The wheel holds the whole package and nothing else, and works where this clone has never been seen.

No network is needed: the build backend is in the lock file, and the empty environment borrows the dependencies
that are already installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import penstock

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "penstock"


def run(*command: str | Path, home: Path, warnings: str = "error") -> str:
    """Runs `command` away from the clone, as somebody with an empty home folder; returns what it printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONWARNINGS": warnings,
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def wheel(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, home=home)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def commands(wheel: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment in which only the wheel was installed."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"),
        *("install", "--quiet", "--no-index", "--no-deps", wheel),
        home=home,
        warnings="default",  # pip's own are not ours to mend
    )
    # Dependencies come from the environment of these tests. A folder that a .pth file names is searched last,
    # and its own .pth files are not read: the clone that is installed there in editable form stays out of sight.
    (site,) = place.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def test_it_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    ours = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == ours
    assert "penstock/py.typed" in names


def test_it_states_its_licence_and_the_pythons_it_runs_on(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (archive.read(n).decode() for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        licences = [n for n in archive.namelist() if n.endswith(".dist-info/licenses/LICENSE")]
    assert f"\nVersion: {penstock.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert len(licences) == 1


def test_the_command_says_its_version(commands: Path, home: Path) -> None:
    assert run(commands / "penstock", "--version", home=home).strip() == f"penstock {penstock.__version__}"


def test_the_command_runs_what_the_wheel_brought(commands: Path, home: Path) -> None:
    where = run(commands / "python", "-c", "import penstock; print(penstock.__file__)", home=home)
    assert Path(where.strip()).is_relative_to(commands.parent)


@pytest.mark.parametrize(
    ("shell", "line"),
    [("bash", "complete -o default"), ("zsh", "#compdef penstock"), ("fish", "complete --command penstock")],
)
def test_shells_can_complete_the_command(commands: Path, home: Path, shell: str, line: str) -> None:
    # Not `--show-completion`: that looks which shell it was called from, whatever the tests were started with.
    script = run("env", f"_PENSTOCK_COMPLETE=source_{shell}", commands / "penstock", home=home)
    assert line in script
    assert f"_PENSTOCK_COMPLETE=complete_{shell}" in script


def test_every_module_can_be_imported(commands: Path, home: Path) -> None:
    modules = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCE.rglob("*.py")
        # Migrations are run by their tool, which gives them what they import.
        if path.name != "__main__.py" and not {"testing", "migrations"} & set(path.relative_to(SOURCE).parts)
    ]
    assert len(modules) > 10
    run(commands / "python", "-c", "".join(f"import {module}\n" for module in sorted(modules)), home=home)
