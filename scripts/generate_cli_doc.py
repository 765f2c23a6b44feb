"""Writes docs/reference/cli.md from the commands; with --check it only compares."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import typer.main

from penstock.cli.exits import Status
from penstock.cli.main import build
from scripts.generated import write_or_compare

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = """\
# Commands

<!-- Made by scripts/generate_cli_doc.py from src/penstock/cli/. Change it there. -->

What a command found goes to standard output, as a table for people, or with `--json` as one JSON document; a pipe gets
a line per row. Everything else (progress, warnings, errors) goes to standard error. An error is one line that begins
with `penstock: ` and says what to do; several wrong settings are a line each.

`penstock --install-completion` has your shell complete commands, options, steps and upload IDs; `penstock --version`
tells the version, and `-h` explains any command.

Commands that talk to a server look for it at `--url`, else at the setting `url` (`PENSTOCK_URL`), else where `penstock
serve` listens by the settings at hand: those of the file that `--config` names, or of which `PENSTOCK_CONFIG` does.

## Exit status

| status | meaning |
|---|---|
"""


def page() -> str:
    """Return the page."""
    statuses = (f"| {status.value} | {status.meaning} |\n" for status in Status)
    return "".join([HEAD, *statuses, *_commands(typer.main.get_command(build()), "penstock")])


def _commands(command: Any, path: str) -> Iterator[str]:
    if path == "penstock storage-users":
        yield f"\n## `{path} …`\n\n{command.help}\n"
        return
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield from _command(command, path)
        return
    for name in subcommands:
        if not subcommands[name].hidden:
            yield from _commands(subcommands[name], f"{path} {name}")
    for name in subcommands:
        if subcommands[name].hidden:
            yield f"\n`{path} {name}` is deprecated: {_lower(subcommands[name].help)}\n"


def _command(command: Any, path: str) -> Iterator[str]:
    shown = [one for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    usage = " ".join([path, *(one.metavar for one in arguments), *(["[options]"] if options else [])])
    yield f"\n## `{path}`\n\n```text\n{usage}\n```\n\n{inspect.cleandoc(command.help)}\n"
    if shown:
        yield "\n| | |\n|---|---|\n"
    for one in arguments:
        yield f"| `{one.metavar}` | {one.help} |\n"
    for one in options:
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
        value = "" if one.is_flag else f" {_escaped(one.metavar or one.name.upper().replace('_', '-'))}"
        default = f" Default: `{one.default}`." if one.default not in (None, False, "") else ""
        yield f"| {names}{value} | {_escaped(one.help)}{default} |\n"


def _lower(text: str) -> str:
    sentence = inspect.cleandoc(text)
    return "it does" + sentence.removeprefix("Do") if sentence.startswith("Do ") else sentence


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(write_or_compare({"cli.md": page()}))
