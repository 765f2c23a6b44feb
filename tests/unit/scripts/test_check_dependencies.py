"""The comparison of pyproject.toml with the lock files and the document about dependencies."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts import check_dependencies

LOCK = """\
httpx==0.28.1 \\
    --hash=sha256:00
structlog==26.1.0 ; python_version >= '3.11' \\
    --hash=sha256:00
"""
DOCUMENT = """\
| package | why it | what else |
|---|---|---|
| `httpx` | why | else |
| `Structlog` | why | else |
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/demo.txt").write_text(LOCK)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/dependencies.md").write_text(DOCUMENT)
    monkeypatch.setattr(check_dependencies, "ROOT", tmp_path)
    return tmp_path


def test_what_fits_has_no_faults(project: Path) -> None:
    assert check_dependencies.lock_faults("demo", [Requirement("httpx>=0.28"), Requirement("structlog")]) == []
    assert check_dependencies.description_faults({"httpx", "structlog"}) == []


def test_a_dependency_that_is_not_locked(project: Path) -> None:
    (fault,) = check_dependencies.lock_faults("demo", [Requirement("rich>=13")])
    assert fault == "requirements/demo.txt has nothing for `rich>=13`. Run `make lock`."


def test_a_dependency_that_is_locked_at_a_version_we_do_not_allow(project: Path) -> None:
    (fault,) = check_dependencies.lock_faults("demo", [Requirement("httpx>=0.29")])
    assert fault == "requirements/demo.txt has 0.28.1 for `httpx>=0.29`. Run `make lock`."


@pytest.mark.parametrize(
    "line", ["--index-url https://packages.example/simple", "--find-links wheels", "rich @ file:///rich.whl"]
)
def test_a_lock_that_says_where_to_fetch_from(project: Path, line: str) -> None:
    (project / "requirements/demo.txt").write_text(f"{line}\n{LOCK}")
    (fault,) = check_dependencies.lock_faults("demo", [])
    assert "names a place to fetch from" in fault


def test_a_dependency_without_a_line_in_the_document(project: Path) -> None:
    (fault,) = check_dependencies.description_faults({"httpx", "structlog", "rich"})
    assert "has no line for `rich`" in fault


def test_a_line_in_the_document_without_a_dependency(project: Path) -> None:
    (fault,) = check_dependencies.description_faults({"httpx"})
    assert "describes `structlog`, which pyproject.toml lacks" in fault


def test_two_lines_for_one_dependency(project: Path) -> None:
    (project / "docs/dependencies.md").write_text(DOCUMENT + "| `httpx` | why again | else |\n")
    (fault,) = check_dependencies.description_faults({"httpx", "structlog"})
    assert "describes `httpx` twice" in fault


def test_groups_include_each_other() -> None:
    wanted = check_dependencies.direct_dependencies(
        {
            "project": {
                "dependencies": ["httpx"],
                "optional-dependencies": {"thumbnails": ["pillow"], "nats": ["nats-py"]},
            },
            "dependency-groups": {
                "build": ["build"],
                "dev": [{"include-group": "build"}, "pytest"],
                "bench": [{"include-group": "dev"}, "tuspyserver"],
            },
        }
    )
    names = {lock: [requirement.name for requirement in requirements] for lock, requirements in wanted.items()}
    assert names == {
        "demo": ["httpx", "pillow", "build"],
        "test": ["httpx", "pillow", "nats-py", "build", "pytest"],
        "bench": ["httpx", "pillow", "nats-py", "build", "pytest", "tuspyserver"],
    }
