#!/usr/bin/env python3
"""Writes docs/reference/cli.md from the commands; with --check it only compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer.main

from penstock.cli.main import app

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# Commands

Made from the code by `scripts/generate_cli_doc.py`. `penstock --install-completion` sets up the shell.

Errors are one line on standard error that begins with `penstock: `, and exit status 2.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    _describe(typer.main.get_command(app), "penstock", parts)
    return "".join(parts)


def _describe(command: Any, path: str, parts: list[str]) -> None:
    subcommands = getattr(command, "commands", None)
    if subcommands:
        for name, subcommand in sorted(subcommands.items()):
            _describe(subcommand, f"{path} {name}", parts)
        return
    text = "\n".join(line.strip() for line in (command.help or "").strip().splitlines())
    parts.append(f"\n## `{path}`\n\n{text}\n\n")
    options = [one for one in command.params if one.param_type_name == "option" and one.help]
    if options:
        parts.append("| option | |\n|---|---|\n")
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        parts.append(f"| {names} | {option.help} |\n")


def main() -> int:
    """Write the page, or compare it."""
    if "--check" not in sys.argv:
        TARGET.write_text(page())
        return 0
    if TARGET.exists() and TARGET.read_text() == page():
        return 0
    print(f"{TARGET} is not what the code says; run scripts/generate_cli_doc.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
