#!/usr/bin/env python3
"""Compares pyproject.toml with docs/dependencies.md and with the lock files.

Each direct dependency has a line of its own in the document, and none is described that we do not have. Each
is locked, at a version that pyproject.toml allows. No lock file says where to fetch from.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
DESCRIBED = re.compile(r"^\| `([A-Za-z0-9._-]+)` \|", re.MULTILINE)
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
ADDRESS = re.compile(r"://|^\s*--(?:index|extra-index|find-links)", re.MULTILINE)


def direct_dependencies(project: dict[str, Any]) -> dict[str, list[Requirement]]:
    """Returns our requirements by the lock file that has to hold them."""
    runtime = project["project"]["dependencies"]
    extras = project["project"]["optional-dependencies"]
    all_extras = [line for extra in extras.values() for line in extra]
    groups = project["dependency-groups"]

    def group(name: str) -> list[str]:
        lines: list[str] = []
        for entry in groups[name]:
            lines += [entry] if isinstance(entry, str) else group(entry["include-group"])
        return lines

    wanted = {
        "demo": runtime + extras.get("thumbnails", []) + group("build"),
        "test": runtime + all_extras + group("dev"),
        "bench": runtime + all_extras + group("bench"),
    }
    return {name: [Requirement(line) for line in lines] for name, lines in wanted.items()}


def lock_faults(name: str, wanted: list[Requirement]) -> list[str]:
    """Returns what is wrong with requirements/`name`.txt."""
    path = ROOT / "requirements" / f"{name}.txt"
    text = path.read_text()
    locked = {canonicalize_name(package): version for package, version in LOCKED.findall(text)}
    where = path.relative_to(ROOT)
    faults = [f"{where} names a place to fetch from. Run `make lock`."] if ADDRESS.search(text) else []
    for requirement in wanted:
        version = locked.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{where} has {version or 'nothing'} for `{requirement}`. Run `make lock`.")
    return faults


def description_faults(direct: set[str]) -> list[str]:
    """Returns what is missing from docs/dependencies.md, and what is too much in it."""
    lines = [canonicalize_name(name) for name in DESCRIBED.findall((ROOT / "docs/dependencies.md").read_text())]
    described = set(lines)
    return [
        *(f"docs/dependencies.md has no line for `{name}`: why it, what else?" for name in direct - described),
        *(f"docs/dependencies.md describes `{name}`, which pyproject.toml lacks." for name in described - direct),
        *(f"docs/dependencies.md describes `{name}` twice." for name in described if lines.count(name) > 1),
    ]


def main() -> int:
    """Prints every fault on a line; returns the exit status."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = direct_dependencies(project)
    direct = {canonicalize_name(one.name) for requirements in wanted.values() for one in requirements}
    direct |= {canonicalize_name(Requirement(line).name) for line in project["build-system"]["requires"]}
    faults = description_faults(set(direct))
    for name, requirements in wanted.items():
        faults += lock_faults(name, requirements)
    for fault in sorted(faults):
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
